"""Process 1 of the runner pod: the only part that sees the pod's token and the session. It never imports what runs the bundle's code."""

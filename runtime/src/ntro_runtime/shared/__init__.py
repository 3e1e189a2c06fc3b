"""What the supervisor and the confined process both need. Imports nothing else of the runtime."""

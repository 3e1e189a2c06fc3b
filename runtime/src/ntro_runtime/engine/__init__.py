"""The process that runs a bundle: replays the journal, attempts activities, appends what workflow code commands."""

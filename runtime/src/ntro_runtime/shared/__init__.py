"""What every other package may need. Imports nothing else of the runtime."""

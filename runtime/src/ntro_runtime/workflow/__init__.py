"""Workflow code under way. Pure: no input or output, no clock; the same deliveries always give the same commands."""

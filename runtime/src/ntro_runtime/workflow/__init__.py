"""Workflow code under way, and the rules of its journal. No input or output, no clock: the same deliveries give the same commands."""

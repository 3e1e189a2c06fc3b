"""Shared by all tests that need a cluster. `cluster`, `people` and `objects` are the base; each other module holds one idea."""

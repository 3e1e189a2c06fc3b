"""What the tests that need a cluster share. `cluster`, `people` and `objects` are the base; every other module is one thing more."""

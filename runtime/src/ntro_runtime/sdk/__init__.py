"""The published SDK on this runtime: the only place that imports the SDK's private names."""

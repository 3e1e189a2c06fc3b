"""What both sides of the wall use: errors, the bundle, the sandbox, the wire forms of small values."""

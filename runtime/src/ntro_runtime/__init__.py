"""Durable runtime for ntro runbooks: the process that runs a bundle, and the `Runtime` the SDK runs on."""

__version__ = "0.1.0"

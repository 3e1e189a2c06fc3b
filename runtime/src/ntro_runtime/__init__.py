"""Durable runtime for ntro runbooks: supervisor, journal client and the `Runtime` the SDK runs on."""

__version__ = "0.1.0"

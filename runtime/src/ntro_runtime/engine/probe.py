"""The points at which tests kill the process: around every append, turn, and attempt of an activity."""

from __future__ import annotations

from collections.abc import Callable

Probe = Callable[[str], None]

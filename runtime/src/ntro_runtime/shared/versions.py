"""What this runner is and speaks. As a program it prints that: the image has it in a file, for the supervisor."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from typing import Any

from .. import __version__

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1


def versions() -> dict[str, Any]:
    """What this runner is, for `attach`."""
    return {
        "runtime": __version__,
        "protocolMin": PROTOCOL_MIN,
        "protocolMax": PROTOCOL_MAX,
        "python": platform.python_version(),
        "sdk": importlib.metadata.version("ntro"),
    }


if __name__ == "__main__":
    print(json.dumps(versions()))  # noqa: T201 - what it is run for

"""What `runbook.md` of an unpacked bundle says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml


class BundleError(Exception):
    """The bundle cannot be run. The text names what is wrong, for people."""


def read_slug(root: Path) -> str:
    """`slug` of the frontmatter of `runbook.md`."""
    slug = _frontmatter(root).get("slug")
    if not isinstance(slug, str) or not slug:
        raise BundleError("the frontmatter of runbook.md has no slug")
    return slug


def _frontmatter(root: Path) -> dict[str, Any]:
    path = root / "runbook.md"
    if not path.is_file():
        raise BundleError("the bundle has no runbook.md")
    parts = path.read_text(encoding="utf-8").split("---\n", 2)
    try:
        front = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
    except yaml.YAMLError:
        raise BundleError("the frontmatter of runbook.md is not YAML") from None
    if not isinstance(front, dict):
        raise BundleError("runbook.md does not begin with frontmatter")
    return front

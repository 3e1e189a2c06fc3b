"""Payloads: JSON text, inline in an entry or as a blob beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Protocol

INLINE_MAX = 4096


class BlobStore(Protocol):
    """Where large values live. Digests are `sha256:<hex>`."""

    def put_blob(self, digest: str, data: bytes) -> None:
        """Store `data`; the same bytes twice are one blob."""

    def get_blob(self, digest: str) -> bytes:
        """Raises if there is no such blob."""


@dataclass(frozen=True)
class Payload:
    """JSON text on its way into an entry."""

    text: str

    @property
    def data(self) -> bytes:
        return self.text.encode()

    @property
    def digest(self) -> str:
        return digest_of(self.data)

    def to_wire(self, inline_max: int = INLINE_MAX) -> dict[str, Any]:
        """`{inline}` up to `inline_max` bytes, else `{blob, size}`."""
        data = self.data
        if len(data) <= inline_max:
            return {"inline": self.text}
        return {"blob": digest_of(data), "size": len(data)}

    def equals(self, wire: dict[str, Any]) -> bool:
        """Whether `wire`, from the journal, stands for the same bytes."""
        if "inline" in wire:
            return bool(wire["inline"] == self.text)
        return bool(wire.get("blob") == self.digest)


def digest_of(data: bytes) -> str:
    """`sha256:<hex>`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def read_payload(wire: dict[str, Any], blobs: BlobStore) -> str:
    """The text of a payload of the journal."""
    if "inline" in wire:
        return str(wire["inline"])
    data = blobs.get_blob(wire["blob"])
    if digest_of(data) != wire["blob"]:
        raise ValueError(f"blob {wire['blob']} has other bytes than its name says")
    return data.decode()

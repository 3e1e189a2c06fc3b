"""What an activity's code can see of the run: its identity and the run's files."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from ..workflow.block import SdkMisuse
from ..workflow.journal import Output
from ..workflow.payload import BlobStore, digest_of

MAX_NAME = 255


@dataclass(frozen=True)
class ActivityInfo:
    """`activity.info()`. `idempotency_key` is the same for every attempt and no other activity ever has it."""

    workflow_id: str
    activity_id: str
    activity_type: str
    task_queue: str
    attempt: int = 1
    idempotency_key: str = ""


class OutputIndex(Protocol):
    """The files that completed activities of the run wrote, by name."""

    @property
    def outputs(self) -> dict[str, Output]:
        """Newest file of each name."""


@dataclass
class RunFiles:
    """Files as one attempt sees them: those of the run, then its own."""

    index: OutputIndex
    blobs: BlobStore
    written: dict[str, Output] = field(default_factory=dict)

    def write(self, path: str, content: bytes, media_type: str) -> Output:
        """Store a file. It becomes an output of the run when the activity completes."""
        name = file_name(path)
        output = Output(name, digest_of(content), len(content), media_type)
        self.blobs.put_blob(output.digest, content)
        self.written[name] = output
        return output

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises `FileNotFoundError`."""
        name = file_name(path)
        output = self.written.get(name) or self.index.outputs.get(name)
        if output is None:
            raise FileNotFoundError(f"the run has no file {name!r}")
        return self.blobs.get_blob(output.digest)

    def names(self, prefix: str) -> list[str]:
        """Names that start with `prefix`, sorted."""
        return sorted(name for name in {**self.index.outputs, **self.written} if name.startswith(prefix))


@dataclass
class ActivityContext:
    """What one attempt of an activity sees; held in `current_activity` while its code runs."""

    info: ActivityInfo
    files: RunFiles
    heartbeat: Callable[[], None]
    """Says that the attempt goes on."""


current_activity: contextvars.ContextVar[ActivityContext | None] = contextvars.ContextVar("ntro_current_activity", default=None)


def run_files() -> RunFiles:
    """The files of the calling activity."""
    context = current_activity.get()
    if context is None:
        raise SdkMisuse("ntro.capabilities.storage can only be used in an activity")
    return context.files


def file_name(path: str) -> str:
    """A relative path without `.` and `..`, at most 255 characters. Raises `ValueError`."""
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\0" in path:
        raise ValueError(f"not a relative path within the run's files: {path!r}")
    name = "/".join(parts)
    if name != name.encode(errors="replace").decode():
        raise ValueError(f"a file's path is Unicode: {path!r}")
    if len(name) > MAX_NAME:
        raise ValueError(f"a file's path has at most {MAX_NAME} characters, this one {len(name)}")
    return name

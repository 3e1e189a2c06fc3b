"""Unpacking a bundle's layer: regular files and directories only, within bounds, beneath one directory."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from ..shared.manifest import BundleError

MAX_FILES = 10_000
MAX_BYTES = 256 * 1024 * 1024
MAX_DEPTH = 32


class _Bounded(io.RawIOBase):
    """Counts what comes out of the compressed stream: sizes in headers can lie."""

    def __init__(self, source: io.BufferedIOBase) -> None:
        self._source = source
        self._left = MAX_BYTES + MAX_FILES * 1024

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._source.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise BundleError(f"the bundle is larger than {MAX_BYTES} bytes when unpacked")
        buffer[: len(data)] = data
        return len(data)


def unpack(layer: bytes, digest: str, target: Path) -> None:
    """Verify `layer` (tar+gzip) against `digest` and write its files beneath `target`, which must not exist."""
    if "sha256:" + hashlib.sha256(layer).hexdigest() != digest:
        raise BundleError("the bundle has other bytes than the digest the run is pinned to")
    target.mkdir(parents=True)
    try:
        stream = io.BufferedReader(_Bounded(gzip.GzipFile(fileobj=io.BytesIO(layer))))
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for count, member in enumerate(archive, start=1):
                if count > MAX_FILES:
                    raise BundleError(f"the bundle has more than {MAX_FILES} files")
                _write(archive, member, target)
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise BundleError(f"the bundle cannot be unpacked: {type(error).__name__}") from None


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or len(path.parts) > MAX_DEPTH or "\0" in member.name:
        raise BundleError("the bundle has an entry outside its directory")
    if member.isdir():
        target.joinpath(path).mkdir(parents=True, exist_ok=True)
        return
    if not member.isreg():
        raise BundleError("the bundle has an entry that is neither a file nor a directory")
    source = archive.extractfile(member)
    destination = target.joinpath(path)
    destination.parent.mkdir(parents=True, exist_ok=True)
    with destination.open("xb") as file:
        while source is not None and (chunk := source.read(1 << 20)):
            file.write(chunk)

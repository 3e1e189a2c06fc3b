"""Files of the run between a worker and the process that talks to the journal: bytes travel as files of the scratch directory.

A side that hands bytes over writes a file and names it; the other one takes it away.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..shared.errors import ProtocolError
from ..workflow.journal import Output
from .journal_client import ConnectionLostError, Json
from .journal_session import JournalSession

Ask = Callable[[Json], Json]


def _stage(data: bytes) -> str:
    fd, path = tempfile.mkstemp(prefix="ntro-blob-")
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    return path


def _take(path: str) -> bytes:
    file = Path(path)
    try:
        return file.read_bytes()
    finally:
        file.unlink(missing_ok=True)


class RemoteFiles:
    """In a worker: the blobs and the index of the run's files."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask

    def put_blob(self, digest: str, data: bytes) -> None:
        self._answer({"op": "put", "digest": digest, "path": _stage(data)})

    def get_blob(self, digest: str) -> bytes:
        return _take(self._answer({"op": "get", "digest": digest})["path"])

    @property
    def outputs(self) -> dict[str, Output]:
        """Newest file of each name."""
        return {item["name"]: Output.of_wire(item) for item in self._answer({"op": "outputs"})["outputs"]}

    def _answer(self, request: Json) -> Json:
        reply = self._ask(request)
        if "refused" in reply:
            raise ProtocolError.from_wire(reply["refused"])
        if "failed" in reply:
            raise OSError(reply["failed"])
        return reply


class FileDesk:
    """On the other side: answers what workers ask for."""

    def __init__(self, session: JournalSession) -> None:
        self._session = session

    def answer(self, request: Json) -> Json:
        """The reply to one request."""
        try:
            return self._do(request)
        except ProtocolError as error:
            return {"refused": error.to_wire()}
        except ConnectionLostError as error:
            return {"refused": ProtocolError("Unavailable", str(error)).to_wire()}
        except Exception as error:
            # Somebody waits for an answer, whatever it is.
            return {"failed": f"{type(error).__name__}: {error}"}

    def _do(self, request: Json) -> Json:
        if request["op"] == "put":
            self._session.client.put_blob(request["digest"], _take(request["path"]))
            return {}
        if request["op"] == "get":
            return {"path": _stage(self._session.client.get_blob(request["digest"]))}
        return {"outputs": [output.to_wire() for output in list(self._session.journal.outputs.values())]}

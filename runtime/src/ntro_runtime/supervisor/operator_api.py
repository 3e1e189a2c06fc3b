"""The operator's API for pods, over HTTPS with one fixed CA. Only the supervisor uses it."""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from ..shared.errors import ProtocolError

T = TypeVar("T")
Json = dict[str, Any]
_TIMEOUT_S = 15.0
_FIRST_DELAY_S, _LAST_DELAY_S = 0.2, 5.0


class UnreachableError(Exception):
    """No answer of the operator: refused, timed out, or something in between answered."""


class OutageError(Exception):
    """No answer for longer than a pod waits."""


class StoppedError(Exception):
    """The pod is told to go while it was asking."""


@dataclass
class OperatorApi:
    """Thread-safe; keeps a few connections. `session` is set after `attach`."""

    url: str
    ca_file: Path
    session: str = ""
    last_contact: float = field(default_factory=time.monotonic)
    _idle: list[http.client.HTTPSConnection] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def attach(self, token: str, versions: Json) -> Json:
        """Become the holder with the pod's projected token."""
        return self._json("POST", "/v1/pod/attach", {"versions": versions}, bearer=token)

    def call(self, op: str, body: Json, wait_ms: int = 0) -> Json:
        """`append`, `poll` or `log`. `wait_ms` is how long the answer may be held back."""
        return self._json("POST", f"/v1/pod/{op}", body, timeout=_TIMEOUT_S + wait_ms / 1000)

    def put_blob(self, digest: str, data: bytes) -> None:
        """Store bytes under their digest."""
        self._request("PUT", f"/v1/pod/blobs/{digest}", data, "application/octet-stream", self.session, 120)

    def get_blob(self, digest: str) -> bytes:
        """The bytes of a digest."""
        return self._request("GET", f"/v1/pod/blobs/{digest}", None, None, self.session, 120)

    def bundle(self) -> bytes:
        """The layer of the run's bundle."""
        return self._request("GET", "/v1/pod/bundle", None, None, self.session, 120)

    def _json(self, method: str, path: str, body: Json, *, bearer: str = "", timeout: float = _TIMEOUT_S) -> Json:
        data = json.dumps(body, separators=(",", ":")).encode()
        answer = self._request(method, path, data, "application/json", bearer or self.session, timeout)
        try:
            value = json.loads(answer) if answer else {}
        except ValueError:
            raise UnreachableError("the answer is not JSON") from None
        if not isinstance(value, dict):
            raise UnreachableError("the answer is not an object")
        return value

    def _request(self, method: str, path: str, data: bytes | None, media_type: str | None, bearer: str, timeout: float) -> bytes:
        headers = {"Authorization": f"Bearer {bearer}"}
        if media_type is not None:
            headers["Content-Type"] = media_type
        connection = self._connection(timeout)
        try:
            connection.request(method, self._path + path, data, headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            # The class only: texts of TLS and socket errors are of no use in a log without payload.
            raise UnreachableError(type(error).__name__) from None
        self._keep(connection)
        self.last_contact = time.monotonic()
        if response.status >= 300:
            raise _refusal(response.status, body, response.getheader("Retry-After"))
        return body

    @property
    def _path(self) -> str:
        return urlsplit(self.url).path.rstrip("/")

    def _connection(self, timeout: float) -> http.client.HTTPSConnection:
        with self._lock:
            if self._idle:
                connection = self._idle.pop()
                connection.timeout = timeout
                if connection.sock is not None:
                    connection.sock.settimeout(timeout)
                return connection
        parts = urlsplit(self.url)
        try:
            # Read anew for each connection: the CA is rotated while pods live.
            context = ssl.create_default_context(cafile=str(self.ca_file))
        except OSError as error:
            raise UnreachableError(type(error).__name__) from None
        return http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=timeout, context=context)

    def _keep(self, connection: http.client.HTTPSConnection) -> None:
        with self._lock:
            if connection.sock is not None and len(self._idle) < 8:
                self._idle.append(connection)
                return
        connection.close()


def _refusal(status: int, body: bytes, retry_after: str | None) -> Exception:
    try:
        error = json.loads(body)
    except ValueError:
        error = None
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        error = error["error"]
    if status >= 500 and not (isinstance(error, dict) and error.get("code") == "NotYet"):
        return UnreachableError(f"HTTP {status}")
    if isinstance(error, dict) and "code" in error:
        if retry_after is not None and retry_after.isdigit() and "retryAfterMs" not in error:
            error["retryAfterMs"] = int(retry_after) * 1000
        return ProtocolError.from_wire(error)
    if status == 429:
        return UnreachableError(f"HTTP {status}")
    return ProtocolError("Forbidden" if status in (401, 403, 404) else "Invalid", f"HTTP {status}")


def patiently(ask: Callable[[], T], outage_wait_ms: int, stop: threading.Event) -> T:
    """Ask until there is an answer. Raises `OutageError` after `outage_wait_ms` without one, `StoppedError` when told to stop.

    "Not yet" is an answer that says to ask again; it shares the same bound.
    """
    since = time.monotonic()
    delay = _FIRST_DELAY_S
    while True:
        pause = delay
        try:
            return ask()
        except UnreachableError:
            delay = min(_LAST_DELAY_S, delay * 2)
        except ProtocolError as error:
            if error.code != "NotYet":
                raise
            pause = min(_LAST_DELAY_S, (error.retry_after_ms or 1000) / 1000)
        if time.monotonic() - since + pause > outage_wait_ms / 1000:
            raise OutageError
        if stop.wait(pause):
            raise StoppedError

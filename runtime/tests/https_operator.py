"""The operator's API for pods over HTTPS, as thin as can be, in front of the journal's own server."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import ssl
import tarfile
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from journal_server import Json, Server
from ntro_runtime.engine.journal_client import ConnectionLostError
from ntro_runtime.shared.errors import ProtocolError
from server_client import ServerClient

STATUS = {"NotYet": 503, "Fenced": 412, "Sealed": 410, "Version": 426, "Invalid": 400, "Forbidden": 403, "TooLarge": 413}


def make_certificate(directory: Path) -> tuple[Path, Path, Path]:
    """A CA; a certificate of it for 127.0.0.1, and its key."""
    ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca = _certificate("ca", ca_key, "ca", ca_key)
    certificate = _certificate("operator", key, "ca", ca_key)
    ca_file, cert_file, key_file = (directory / name for name in ("ca.crt", "tls.crt", "tls.key"))
    ca_file.write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return ca_file, cert_file, key_file


def _certificate(subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, issuer_key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)]))
        .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=subject == issuer, path_length=None), critical=True)
    )
    if subject != issuer:
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        builder = builder.add_extension(address, critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


def layer_of(files: dict[str, str]) -> bytes:
    """A bundle's layer."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(raw.getvalue())


class Refusal(Exception):
    def __init__(self, **body: Any) -> None:
        self.body = body


class HttpsOperator:
    """`refusals` are error objects served, one each, before anything else is answered. `down` drops every connection, and `dropped`
    are the paths of what was asked meanwhile.

    `garbled` are paths, or methods and paths, whose answer is once something else. `slow` are seconds before a request is
    looked at, by how its path begins. `page` is the most entries of a reply.
    """

    def __init__(self, directory: Path, server: Server, run: str, layer: bytes, layer_digest: str | None = None) -> None:
        self._server, self._run = server, run
        self._client: ServerClient | None = None
        self.layer = layer
        self.layer_digest = layer_digest or "sha256:" + hashlib.sha256(layer).hexdigest()
        self.ca_file, cert_file, key_file = make_certificate(directory)
        self.refusals: list[Json] = []
        self.down = threading.Event()
        self.requests: list[str] = []
        self.dropped: list[str] = []
        self.garbled: list[str] = []
        self.slow: dict[str, float] = {}
        self.page: int | None = None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert_file, key_file)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._http.daemon_threads = True
        self._http.socket = context.wrap_socket(self._http.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
        if self._client is not None:
            self._client.close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        operator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                self._serve()

            do_PUT = do_GET = do_POST  # noqa: N815

            def _serve(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if operator.down.is_set():
                    operator.dropped.append(self.path)
                    self.close_connection = True
                    return
                operator.requests.append(f"{self.command} {self.path}")
                time.sleep(sum(seconds for path, seconds in operator.slow.items() if self.path.startswith(path)))
                try:
                    status, body = 200, operator.answer(self.path, self.headers["Authorization"], data)
                except ConnectionLostError:
                    self.close_connection = True
                    return
                except Refusal as error:
                    status, body = STATUS.get(error.body["code"], 409), json.dumps(error.body).encode()
                except ProtocolError as error:
                    status, body = STATUS.get(error.code, 409), json.dumps(error.to_wire()).encode()
                for garbled in {self.path, f"{self.command} {self.path}"} & set(operator.garbled):
                    operator.garbled.remove(garbled)
                    body = b"<html>a proxy's page</html>"
                self.wfile.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)

        return Handler

    def answer(self, path: str, authorization: str, data: bytes) -> bytes:
        if self.refusals:
            raise Refusal(**self.refusals.pop(0))
        op = path.removeprefix("/v1/pod/")
        if op == "attach":
            return self._attach(authorization, json.loads(data))
        if authorization != "Bearer SESSION-CANARY" or self._client is None:
            raise Refusal(code="Forbidden")
        if op == "bundle":
            return self.layer
        if op.startswith("blobs/"):
            digest = op.removeprefix("blobs/")
            if not data:
                return self._client.get_blob(digest)
            self._client.put_blob(digest, data)
            return b""
        return self._paged(self._client._send(op, json.loads(data)).result())

    def _attach(self, authorization: str, body: Json) -> bytes:
        if authorization != "Bearer TOKEN-CANARY":
            raise Refusal(code="Forbidden")
        if self._client is None:
            self._client = ServerClient(self._server.connect())
            self._client.read_in_background()
        reply = self._client._call("attach", {**body, "run": self._run, "pod": {"uid": "pod-1"}})
        self._client.epoch = int(reply["epoch"])
        reply["pin"] |= {"layerDigest": self.layer_digest}
        return self._paged({**reply, "session": "SESSION-CANARY"})

    def _paged(self, reply: Json) -> bytes:
        if self.page is not None and len(reply.get("entries", [])) > self.page:
            reply |= {"entries": reply["entries"][: self.page], "more": True}
        return json.dumps(reply).encode()

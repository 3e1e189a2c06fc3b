"""The operator's pod API over HTTPS, in front of a `FakeJournal`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import ssl
import tarfile
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fake_journal import FakeJournal, Refused

Json = dict[str, Any]
STATUS = {"NotYet": 503, "Fenced": 412, "Sealed": 410, "Version": 426, "Invalid": 400, "Forbidden": 403, "TooLarge": 413}


def make_certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, which is its own CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "operator")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = directory / "ca.crt", directory / "tls.key"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return cert_file, key_file


def layer_of(files: dict[str, str]) -> bytes:
    """A bundle's layer."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text.encode())
            archive.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(raw.getvalue())


class FakeOperator:
    """`refusals` are error codes served, one each, before anything else is answered. `down` drops every connection."""

    def __init__(self, directory: Path, journal: FakeJournal, layer: bytes) -> None:
        self.journal = journal
        self.layer = layer
        self.ca_file, key_file = make_certificate(directory)
        self.refusals: list[Json] = []
        self.down = threading.Event()
        self.requests: list[str] = []
        self.logs: dict[int, Json] = {}
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.ca_file, key_file)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"https://127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def log_text(self) -> str:
        return "\n".join(f"{line['stream']}: {line['text']}" for _, line in sorted(self.logs.items()))

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        operator = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:  # noqa: N802
                self._serve()

            do_PUT = do_GET = do_POST  # noqa: N815

            def _serve(self) -> None:
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                if operator.down.is_set():
                    self.close_connection = True
                    return
                operator.requests.append(f"{self.command} {self.path}")
                try:
                    status, body = 200, operator.answer(self.path, self.headers["Authorization"], data)
                except Refused as error:
                    status, body = STATUS.get(error.body["code"], 409), json.dumps(error.body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler

    def answer(self, path: str, authorization: str, data: bytes) -> bytes:
        if self.refusals:
            refusal = self.refusals.pop(0)
            raise Refused(**refusal)
        expected = "Bearer TOKEN-CANARY" if path.endswith("/attach") else "Bearer SESSION-CANARY"
        if authorization != expected:
            raise Refused("Forbidden")
        if path == "/v1/pod/bundle":
            return self.layer
        if path.startswith("/v1/pod/blobs/"):
            digest = path.rsplit("/", 1)[1]
            if data:
                assert digest == "sha256:" + hashlib.sha256(data).hexdigest()
                self.journal.blobs[digest] = data
                return b""
            return self.journal.blobs[digest]
        op = path.rsplit("/", 1)[1]
        body = json.loads(data)
        if op == "log":
            for line in body["lines"]:
                self.logs.setdefault(line["n"], line)
            return b"{}"
        reply = getattr(self.journal, f"op_{op}")(body)
        if op == "attach":
            digest = "sha256:" + hashlib.sha256(self.layer).hexdigest()
            reply |= {"session": "SESSION-CANARY", "pin": {"layerDigest": digest, "steps": [{"id": "one"}]}}
        return json.dumps(reply).encode()

"""The operator's pod, reached from here through a port-forward of the API server."""

from __future__ import annotations

import re
import ssl
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from kit.cluster import kubectl
from kit.people import SYSTEM, Person


@contextmanager
def port_forward(port: int, person: Person | None = None) -> Iterator[int]:
    """Gives the local end of a tunnel to `port` of the operator."""
    flags = person.flags() if person else []
    command = ["kubectl", "-n", SYSTEM, "port-forward", "pod/ntro-0", f":{port}", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        local = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert local, "kubectl port-forward did not start"
        yield int(local[1])
    finally:
        process.terminate()
        process.wait()


def metrics_token(*more: str) -> str:
    """A token of the audience that the operator's metrics ask for."""
    return kubectl("-n", SYSTEM, "create", "token", "default", "--audience", "ntro-metrics", *more).ok().out.strip()


def metrics() -> str:
    """The operator's metrics as a scraper gets them."""
    token = metrics_token()
    # The tunnel is authenticated by the API server; the certificate names the Service, not this end of it.
    tls = ssl._create_unverified_context()
    with port_forward(8444) as port:
        request = urllib.request.Request(f"https://127.0.0.1:{port}/metrics", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, context=tls, timeout=30) as answer:
            return str(answer.read().decode())

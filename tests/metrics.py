"""Prints the operator's metrics as a scraper gets them: through a port-forward, with a token of the audience they ask for."""

from __future__ import annotations

import re
import ssl
import subprocess
import sys
import urllib.request

SYSTEM = "ntro-system"


def main() -> None:
    token = subprocess.run(
        ["kubectl", "-n", SYSTEM, "create", "token", "default", "--audience", "ntro-metrics"], check=True, capture_output=True, text=True
    ).stdout.strip()
    forward = subprocess.Popen(["kubectl", "-n", SYSTEM, "port-forward", "pod/ntro-0", ":8444"], stdout=subprocess.PIPE, text=True)
    try:
        port = re.search(r"127\.0\.0\.1:(\d+)", forward.stdout.readline() if forward.stdout else "")
        if not port:
            raise SystemExit("kubectl port-forward did not begin")
        # The tunnel is authenticated by the API server; the certificate names the Service, not this end of it.
        tls = ssl._create_unverified_context()
        request = urllib.request.Request(f"https://127.0.0.1:{port[1]}/metrics", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, context=tls, timeout=30) as answer:
            sys.stdout.write(answer.read().decode())
    finally:
        forward.terminate()
        forward.wait()


if __name__ == "__main__":
    main()

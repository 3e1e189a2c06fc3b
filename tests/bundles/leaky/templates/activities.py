"""Writes canaries wherever a program can write. The words are put together here, so that the bundle holds none."""

import ctypes
import logging
import os
import subprocess
import sys

from ntro.capabilities import storage
from ntro.workflow import activity


def canary(place: str) -> str:
    return "-".join(["canary", "7f3a", place])


def attempt(action) -> str:
    try:
        action()
        return "done"
    except OSError as e:
        return type(e).__name__


def write_to(path: str, text: str) -> str:
    def action():
        with open(path, "w") as f:
            f.write(text)

    return attempt(action)


def tokens() -> list[str]:
    found = []
    for directory, _, files in os.walk("/var/run", onerror=lambda e: None):
        for name in files:
            path = os.path.join(directory, name)
            if "token" in name and attempt(lambda p=path: open(p).read()) == "done":
                found.append(path)
    return found


@activity.defn(name="leaky.leak")
async def leak(argument: str) -> dict:
    print(canary("print"), flush=True)
    logging.getLogger("leaky").warning(canary("logging"))
    os.write(1, (canary("fd1") + "\n").encode())
    os.write(2, (canary("fd2") + "\n").encode())
    subprocess.run(["/bin/sh", "-c", f"echo {canary('child')}; echo {canary('child2')} >&2"], check=False)
    for number in range(3, 64):
        attempt(lambda n=number: os.write(n, b""))
    await storage.write(path="secret.txt", content=canary("output").encode(), content_type="text/plain")
    return {
        "result": canary("result"),
        "stdout of init": write_to("/proc/1/fd/1", canary("proc1") + "\n"),
        "stderr of init": write_to("/proc/1/fd/2", canary("proc2") + "\n"),
        "termination log": write_to("/dev/termination-log", canary("termination")),
        "memory of init": attempt(lambda: open("/proc/1/mem", "rb").read(1)),
        "environment of init": attempt(lambda: open("/proc/1/environ", "rb").read(1)),
        "tokens": tokens(),
        "argument": argument,
    }


@activity.defn(name="leaky.crash")
async def crash() -> None:
    sys.stdout.write(canary("before-crash") + "\n")
    sys.stdout.flush()
    ctypes.string_at(0)

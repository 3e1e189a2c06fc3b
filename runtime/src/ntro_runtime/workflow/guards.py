"""Guards against what makes workflow code irreproducible: clocks, random numbers, files, sockets, processes, threads.

They watch calls that bundle code makes itself while a turn runs on the main thread; libraries may do as they like, except for sockets,
processes and threads, which are refused at any depth. Best effort: the guarantee comes from comparing commands on replay.
"""

from __future__ import annotations

import asyncio
import builtins
import concurrent.futures
import datetime
import io
import os
import pathlib
import random
import secrets
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

from .source_location import SourceLocation, SourceLocator

_USE_NOW = "use runbook.now()"
_USE_ACTIVITY = "do it in an activity"
_USE_INPUT = "draw it in an activity"

OnMisuse = Callable[[str, SourceLocation | None], None]


def _builtins() -> dict[Any, tuple[str, str]]:
    """C functions by identity: what to call them, and what to do instead."""
    found: dict[Any, tuple[str, str]] = {}

    def add(owner: Any, names: str, label: str, hint: str) -> None:
        for name in names.split():
            function = getattr(owner, name, None)
            if function is not None:
                found[function] = (f"{label}{name}", hint)

    add(time, "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time", "time.", _USE_NOW)
    add(time, "sleep", "time.", "use asyncio.sleep(), a durable timer")
    add(datetime.datetime, "now utcnow today", "datetime.", _USE_NOW)
    add(datetime.date, "today", "date.", _USE_NOW)
    add(random, "random getrandbits", "random.", _USE_INPUT)
    add(os, "urandom getrandom", "os.", _USE_INPUT)
    add(os, "listdir scandir open system fork getpid mkdir remove unlink rename", "os.", _USE_ACTIVITY)
    add(builtins, "open input", "", _USE_ACTIVITY)
    found[io.open] = ("open", _USE_ACTIVITY)
    return found


def _python() -> dict[int, tuple[str, str]]:
    """Python functions by the identity of their code."""
    found: dict[int, tuple[str, str]] = {}

    def add(owner: Any, names: Iterable[str], label: str, hint: str) -> None:
        for name in names:
            code = getattr(getattr(owner, name, None), "__code__", None)
            if code is not None:
                found[id(code)] = (f"{label}{name}", hint)

    add(uuid, ["uuid1", "uuid4", "uuid6", "uuid7", "uuid8", "getnode"], "uuid.", _USE_INPUT)
    add(secrets, [n for n in secrets.__all__ if n != "compare_digest"], "secrets.", _USE_INPUT)
    add(random.Random, [n for n in dir(random.Random) if not n.startswith("_")], "random.", _USE_INPUT)
    add(pathlib.Path, ["open", "read_text", "read_bytes", "write_text", "write_bytes", "iterdir", "glob", "rglob"], "Path.", _USE_ACTIVITY)
    add(subprocess, ["run", "call", "check_call", "check_output", "getoutput"], "subprocess.", _USE_ACTIVITY)
    add(subprocess.Popen, ["__init__"], "subprocess.Popen", _USE_ACTIVITY)
    add(threading.Thread, ["start"], "Thread.", _USE_ACTIVITY)
    add(concurrent.futures.ThreadPoolExecutor, ["submit"], "executor.", _USE_ACTIVITY)
    add(socket.socket, ["__init__"], "socket.socket", _USE_ACTIVITY)
    add(socket, ["create_connection"], "socket.", _USE_ACTIVITY)
    add(tempfile, ["mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryFile"], "tempfile.", _USE_ACTIVITY)
    add(asyncio, ["to_thread"], "asyncio.", _USE_ACTIVITY)
    return found


_AUDITED = {
    "socket.connect": "a network connection",
    "socket.bind": "a listening socket",
    "socket.getaddrinfo": "a name look-up",
    "subprocess.Popen": "a process",
    "os.system": "a process",
    "os.exec": "a process",
    "os.posix_spawn": "a process",
    "os.fork": "a process",
    "_thread.start_new_thread": "a thread",
    "_thread.start_joinable_thread": "a thread",
}

_RANDOM_CODES = frozenset(id(function.__code__) for function in vars(random.Random).values() if hasattr(function, "__code__"))
_THREAD_START = id(threading.Thread.start.__code__)
_active: Guard | None = None
_hooked = False


class Guard:
    """Context manager around each turn. `on_misuse` gets a message and the site; it does not return in production."""

    def __init__(self, locator: SourceLocator, on_misuse: OnMisuse) -> None:
        self._locator = locator
        self._on_misuse = on_misuse
        self._thread = threading.get_ident()
        self._c_functions = _builtins()
        self._codes = _python()
        global _hooked
        if not _hooked:
            sys.addaudithook(_audit)
            _hooked = True

    def __enter__(self) -> Guard:
        global _active
        _active = self
        self._thread = threading.get_ident()
        sys.setprofile(self._profile)
        return self

    def __exit__(self, *_: object) -> None:
        disarm()

    def _profile(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "c_call":
            known = self._c_functions.get(arg)
            caller: FrameType | None = frame
        elif event == "call":
            known = self._codes.get(id(frame.f_code))
            caller = frame.f_back
        else:
            return
        if known is None or caller is None:
            return
        if not self._locator.owns(caller.f_code.co_filename):
            if id(frame.f_code) == _THREAD_START:  # older versions of Python do not audit it
                self.audit("_thread.start_new_thread")
            return
        if event == "call" and id(frame.f_code) in _RANDOM_CODES and not _is_shared_random(frame):
            return
        name, hint = known
        self._misused(f"{name}() in workflow code is not reproducible: {hint}", caller)

    def audit(self, event: str) -> None:
        """An audited event happened on some thread."""
        if threading.get_ident() != self._thread:
            return
        site = self._locator.of_caller()
        if site is not None:
            self._misused(f"workflow code started {_AUDITED[event]}: {_USE_ACTIVITY}", None, site)

    def _misused(self, message: str, frame: FrameType | None, site: SourceLocation | None = None) -> None:
        disarm()
        self._on_misuse(message, site or self._locator.of_caller(frame))


def disarm() -> None:
    """Stop watching: the turn is over, or the process is about to leave."""
    global _active
    sys.setprofile(None)
    _active = None


def _is_shared_random(frame: FrameType) -> bool:
    """A generator that the code seeded itself is reproducible; the module's own is not."""
    owner = frame.f_locals.get("self")
    return owner is None or owner is getattr(random, "_inst", None) or type(owner) is random.SystemRandom


def _audit(event: str, _args: tuple[Any, ...]) -> None:
    if _active is not None and event in _AUDITED:
        _active.audit(event)

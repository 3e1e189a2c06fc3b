"""What the kernel takes from the process that runs a bundle: Landlock, no new privileges, no core dumps.

The supervisor holds the pod's token. A process of the same user could otherwise read it, write to the container's own output, or attach
to the supervisor; under Landlock it sees only what is listed here.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import struct
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
# System call numbers are the same on every architecture of 64 bits.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_RULE_PATH_BENEATH = 1
_VERSION_FLAG = 1
_SCOPE_ABSTRACT_UNIX_SOCKET, _SCOPE_SIGNAL = 1, 2

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_ALL_BY_ABI = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL_FROM_5 = (1 << 16) - 1

_SYSTEM_READ = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/opt", "/etc")
_PROC_READ = ("/proc/self", "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems", "/proc/mounts")
# Secrets that the workflow names, mounted by the operator; never the directory of the pod's own token.
_SECRETS = "/var/run/ntro/secrets"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")


class SandboxError(Exception):
    """The kernel cannot confine the bundle."""


@dataclass(frozen=True)
class Policy:
    """Paths beneath which the process may read, or read and write."""

    read: tuple[Path, ...]
    write: tuple[Path, ...]
    devices: tuple[Path, ...] = ()


def policy(code: Path, scratch: Path) -> Policy:
    """The directory of the bundle, Python and the system's libraries to read; one private directory to write."""
    python = {Path(p) for p in [sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), *sys.path] if p and p != "/"}
    read = [code, Path(_SECRETS), *(Path(p) for p in (*_SYSTEM_READ, *_PROC_READ)), *sorted(python)]
    return Policy(tuple(read), (scratch,), tuple(Path(p) for p in _DEVICES))


_libc = ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *args: object) -> int:
    result = int(_libc.syscall(number, *args))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def die_with_parent() -> None:
    """Be killed when the supervisor ends, however it ends."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def landlock_abi() -> int:
    """Version of the kernel's Landlock, 0 without."""
    try:
        return _syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return 0


def restrict(wanted: Policy, *, required: bool) -> None:
    """Confine this process and all it starts, for good. Raises `SandboxError` if that is impossible and `required`."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    abi = landlock_abi()
    if abi == 0:
        if required:
            raise SandboxError("this kernel has no Landlock; set NTRO_ALLOW_NO_LANDLOCK=1 to run bundles without it")
        return
    handled = _ALL_BY_ABI.get(abi, _ALL_FROM_5)
    scopes = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if abi >= 6 else 0
    # struct landlock_ruleset_attr: handled_access_fs, handled_access_net (from 4), scoped (from 6).
    sizes = struct.pack("=QQQ", handled, 0, scopes)[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _syscall(_CREATE_RULESET, ctypes.c_char_p(sizes), ctypes.c_size_t(len(sizes)), 0)
    try:
        _allow(ruleset, wanted.read, _READ & handled)
        _allow(ruleset, wanted.write, handled)
        _allow(ruleset, wanted.devices, (_READ_FILE | _WRITE_FILE | _IOCTL_DEV) & handled)
        _syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, paths: Iterable[Path], rights: int) -> None:
    for path in paths:
        try:
            fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue  # what is not there needs no rule
        try:
            allowed = rights if path.is_dir() else rights & _FILE_RIGHTS
            # struct landlock_path_beneath_attr, packed: allowed_access, parent_fd.
            rule = struct.pack("=Qi", allowed, fd)
            _syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.c_char_p(rule), 0)
        finally:
            os.close(fd)

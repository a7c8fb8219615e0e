"""Confinement of the store child by Linux Landlock: its own folders, no other file, no outgoing connection, no program.

ClickHouse's grants are not enough in the wheel's entry: the scalar function `file()` and settings that name format
files read any path there, whoever asks. Landlock needs no privilege and cannot be lifted again.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterable
from pathlib import Path

# The numbers are the same on every architecture (include/uapi/asm-generic/unistd.h, include/uapi/linux/landlock.h).
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG = 1
_PATH_BENEATH, _NET_PORT = 1, 2
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_FILE_RIGHTS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_BIND_TCP, _CONNECT_TCP = 1, 2

# Version 1 forbids every rename between folders, which ClickHouse needs.
_LEAST_VERSION = 2


class _Ruleset(ctypes.Structure):
    _fields_ = (("fs", ctypes.c_uint64), ("net", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


class _NetPort(ctypes.Structure):
    _fields_ = (("allowed", ctypes.c_uint64), ("port", ctypes.c_uint64))


def landlock_version() -> int:
    """The kernel's Landlock version, 0 where it has none (or none that ClickHouse can live with)."""
    if sys.platform != "linux":
        return 0
    version = int(_libc().syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG))
    return version if version >= _LEAST_VERSION else 0


def confine(
    *, writable: Iterable[Path], readable: Iterable[Path], ports: Iterable[int], written_only: Iterable[Path] = ()
) -> bool:
    """Give up everything but the named paths and listening on `ports`, for this thread and all that it starts later.

    In `written_only` files are made, written, renamed and removed, and not opened to read. Paths that do not exist are
    left out. Files that are open already stay usable.

    Returns:
        False where the kernel has no Landlock: nothing was given up.

    Raises:
        OSError: the kernel has Landlock and refused a rule.
    """
    version = landlock_version()
    if version == 0:
        return False
    fs = (1 << 13) - 1 | _REFER
    fs |= _TRUNCATE if version >= 3 else 0
    fs |= _IOCTL_DEV if version >= 5 else 0
    net = _BIND_TCP | _CONNECT_TCP if version >= 4 else 0
    ruleset = _Ruleset(fs, net)
    size = ctypes.sizeof(ruleset) if version >= 4 else ctypes.sizeof(ctypes.c_uint64)
    descriptor = _checked(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), 0)
    try:
        for path in writable:
            _allow(descriptor, path, fs & ~_EXECUTE & ~_IOCTL_DEV)
        for path in written_only:
            _allow(descriptor, path, fs & ~_EXECUTE & ~_IOCTL_DEV & ~_READ_FILE)
        for path in readable:
            _allow(descriptor, path, _READ_FILE | _READ_DIR)
        for port in ports if net else ():
            _checked(_ADD_RULE, descriptor, _NET_PORT, ctypes.byref(_NetPort(_BIND_TCP, port)), 0)
        if _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _checked(_RESTRICT_SELF, descriptor, 0)
    finally:
        os.close(descriptor)
    return True


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        allowed = rights if path.is_dir() else rights & _FILE_RIGHTS
        rule = _PathBeneath(allowed, descriptor)
        _checked(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0)
    finally:
        os.close(descriptor)


def _checked(number: int, *arguments: object) -> int:
    result = int(_libc().syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), f"Landlock: {os.strerror(ctypes.get_errno())}")
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)

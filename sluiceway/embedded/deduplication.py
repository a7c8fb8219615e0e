"""Mend the engine's deduplication logs before it starts: forget tokens whose rows never became part of a table.

The engine of the wheel (26.9) writes a token into the log of its table first and renames the part into place after it.
A kill in between leaves a token without rows, and the repeated insert, half of the exactly-once protocol, would be
dropped as a duplicate: the rows would be lost. And what follows a record that a full disk cut short is not read at all,
so that tokens would be forgotten and their rows inserted twice. Later engines rename first.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_ADD, _DROP = b"1", b"2"
# partition, first and last block, level, and the mutation if there was one.
_PART = re.compile(rb"([^_\t]+)_(\d+)_(\d+)_\d+(?:_\d+)?")
_RECORD = re.compile(rb"([12])\t([^\t\n]+)\t([^\t\n]+)")


@dataclass(frozen=True, slots=True)
class Mended:
    """What was done: tokens forgotten for want of their part, records removed because they were cut short."""

    forgotten: int
    cut_short: int


def mend(data: Path, scratch: Path) -> Mended:
    """Mend the logs of every table below `data`, a ClickHouse data path that no engine uses now.

    Args:
        data: the engine's data path.
        scratch: a folder on the same file system for a file that replaces a log; the engine refuses strange names
            beside its logs.

    Raises:
        OSError: a log cannot be read or written. The engine MUST NOT be started then.
    """
    forgotten = cut_short = 0
    for folder in sorted(data.glob("store/*/*/deduplication_logs")):
        logs = sorted(folder.glob("deduplication_log_*.txt"), key=_number)
        cut_short += sum(_remove_cut_short(log, scratch) for log in logs)
        lost = _tokens_without_part(logs, folder.parent)
        if lost:
            _append(logs[-1], b"".join(b"%b\t%b\t%b\n" % (_DROP, part, token) for token, part in lost.items()))
            forgotten += len(lost)
    return Mended(forgotten, cut_short)


def _number(log: Path) -> int:
    return int(log.stem.rpartition("_")[2])


def _remove_cut_short(log: Path, scratch: Path) -> int:
    lines = log.read_bytes().split(b"\n")
    # Without a final newline the last piece is a record that was cut short, else it is empty.
    whole = [line for line in lines[:-1] if _RECORD.fullmatch(line)]
    removed = len(lines) - len(whole) - (lines[-1] == b"")
    if removed:
        fresh = scratch / "deduplication_log.new"
        with fresh.open("wb") as file:
            file.write(b"".join(line + b"\n" for line in whole))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(log)
    return removed


def _tokens_without_part(logs: list[Path], table: Path) -> dict[bytes, bytes]:
    tokens: dict[bytes, bytes] = {}
    for log in logs:
        for line in log.read_bytes().splitlines():
            operation, part, token = line.split(b"\t")
            if operation == _ADD:
                tokens[token] = part
            else:
                tokens.pop(token, None)
    present: defaultdict[bytes, list[tuple[int, int]]] = defaultdict(list)
    for entry in os.scandir(table):
        found = _PART.fullmatch(os.fsencode(entry.name))
        if found:
            present[found[1]].append((int(found[2]), int(found[3])))
    return {token: part for token, part in tokens.items() if not _is_present(part, present)}


def _is_present(part: bytes, present: Mapping[bytes, Sequence[tuple[int, int]]]) -> bool:
    """Whether the part, or one that it was merged into, lies in the table's folder."""
    found = _PART.fullmatch(part)
    if found is None:
        return True
    first, last = int(found[2]), int(found[3])
    return any(low <= first and last <= high for low, high in present.get(found[1], ()))


def _append(log: Path, records: bytes) -> None:
    with log.open("ab") as file:
        file.write(records)
        file.flush()
        os.fsync(file.fileno())

"""The gate's log: bounded in records, their size and the file's, as whoever sends nonsense decides on all three."""

from __future__ import annotations

import logging
import time
from logging.handlers import RotatingFileHandler
from pathlib import Path

from aiohttp.http_exceptions import HttpProcessingError

_RECORDS_A_MINUTE = 10
_RECORD_CHARACTERS = 4000
_FILE_BYTES = 1 << 20


def log_to(file: Path) -> None:
    """Send what every part of this process reports to `file` and one file before it."""
    handler = RotatingFileHandler(file, maxBytes=_FILE_BYTES, backupCount=1, encoding="utf-8", errors="replace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    handler.addFilter(Sparing())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


class Sparing(logging.Filter):
    """Lets few records pass, short, and none of a request that is none: its sender is told."""

    def __init__(self) -> None:
        super().__init__()
        self._minute, self._passed = 0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes; it is cut where it does."""
        kind = record.exc_info[0] if record.exc_info else None
        if kind is not None and issubclass(kind, HttpProcessingError):
            return False
        minute = int(time.monotonic() / 60)
        if minute != self._minute:
            self._minute, self._passed = minute, 0
        self._passed += 1
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        record.msg, record.args, record.exc_info, record.exc_text = text[-_RECORD_CHARACTERS:], (), None, None
        return self._passed <= _RECORDS_A_MINUTE

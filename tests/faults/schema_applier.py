"""`python -m tests.faults.schema_applier URL PASSWORD_FILE DATABASE JOURNAL LEASE_S`: one of several appliers.

Waits for a line on standard input, so that all begin at once. Each statement of the schema is written to the journal
before and after it, with the monotonic clock that all processes share. Prints how many steps it took.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from processors import schema_lease
from processors.store_client import connect
from schemas.settings import RetentionSettings

# Wide enough for others to get in between two statements, if they could.
_PAUSE_S = 0.05


class JournaledClient:
    """Passes everything on, and notes what changes the schema: all commands but the lease's own, and the record."""

    def __init__(self, url: str, password: str, journal: Path) -> None:
        self._client = connect(url, user="sluiceway", password=password, database=None)
        self._journal = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def query(self, *arguments: Any, **named: Any) -> Any:
        return self._client.query(*arguments, **named)

    def command(self, statement: str, **named: Any) -> Any:
        if "schema_lease" in statement or statement.startswith("CREATE DATABASE"):
            return self._client.command(statement, **named)
        return self._noted(statement.splitlines()[0], lambda: self._client.command(statement, **named))

    def insert(self, *arguments: Any, **named: Any) -> Any:
        return self._noted("the record", lambda: self._client.insert(*arguments, **named))

    def _noted(self, what: str, run: Any) -> Any:
        self._note("begin", what)
        time.sleep(_PAUSE_S)
        answer = run()
        time.sleep(_PAUSE_S)
        self._note("end", what)
        return answer

    def _note(self, edge: str, what: str) -> None:
        os.write(self._journal, f"{time.monotonic_ns()}\t{os.getpid()}\t{edge}\t{what}\n".encode())


def main() -> None:
    """Apply the default schema."""
    url, password_file, database, journal, lease_s = sys.argv[1:]
    client: Any = JournaledClient(url, Path(password_file).read_text().strip(), Path(journal))
    print("ready", flush=True)
    sys.stdin.readline()
    steps = schema_lease.apply_alone(client, database, RetentionSettings(), lease_s=float(lease_s))
    print(len(steps), flush=True)


if __name__ == "__main__":
    main()

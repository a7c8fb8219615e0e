"""What threads of one process share about one embedded log: whose turn it is to write, and news of appends.

SQLite's own busy handler sleeps and retries, so a reader's commit could starve beside a writer that never pauses; and
waiting for records by polling would cost either latency or CPU. Other processes have only SQLite's locks and poll.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter, defaultdict
from collections.abc import Iterable
from types import TracebackType
from typing import Protocol


class Turn:
    """A lock that the thread which waits gets before the thread that just released it."""

    def __init__(self) -> None:
        self._next = threading.Lock()
        self._held = threading.Lock()

    def __enter__(self) -> None:
        with self._next:
            self._held.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._held.release()


class ClosesWhenIdle(Protocol):
    """A connection that another thread may close between two uses; it opens again at the next one."""

    def close_if_idle(self) -> None:
        """Close unless it is in use."""


class SharedLog:
    """One per log file and process.

    Attributes:
        turn: held around every write transaction.
        writers: open writers in this process; while there is none, waiting readers poll the file more often.
        links: what to close when one of them failed. SQLite shares open files among the connections of a process, so
            that none may heal before all were closed.
    """

    def __init__(self) -> None:
        self.turn = Turn()
        self.writers = 0
        self.links: weakref.WeakSet[ClosesWhenIdle] = weakref.WeakSet()
        self._appended: Counter[str] = Counter()
        self._lock = threading.Lock()
        # One a topic: a reader that is woken looks into the file, so an append must wake no reader of another topic.
        self._news: defaultdict[str, threading.Condition] = defaultdict(lambda: threading.Condition(self._lock))

    def announce(self, topics: Iterable[str]) -> None:
        """Wake the readers of `topics`; call after the commit."""
        with self._lock:
            for topic in topics:
                self._appended[topic] += 1
                self._news[topic].notify_all()

    def wake_all(self) -> None:
        """Let every waiting reader look at its own state again."""
        with self._lock:
            for news in self._news.values():
                news.notify_all()

    def version(self, topic: str) -> int:
        """A number that changes with every announced append to `topic`."""
        return self._appended[topic]

    def wait(self, topic: str, seen: int, timeout_s: float) -> bool:
        """Whether `version(topic)` left `seen`; returns at the latest after `timeout_s`."""
        with self._lock:
            if self._appended[topic] == seen:
                self._news[topic].wait(timeout_s)
            return self._appended[topic] != seen


_logs: weakref.WeakValueDictionary[str, SharedLog] = weakref.WeakValueDictionary()
_logs_lock = threading.Lock()


def shared_log(path: str) -> SharedLog:
    """The shared state of the log at `path`, which must be absolute and free of symbolic links."""
    with _logs_lock:
        found = _logs.get(path)
        if found is None:
            found = _logs[path] = SharedLog()
        return found

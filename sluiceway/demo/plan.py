"""One request through the shop, decided before anything is emitted: which spans, when, on which instance, how they end.

Times are nanoseconds from the start of the request. Nobody waits for a simulated duration, so one thread can emit
whole traces whose spans all lie in the past.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from sluiceway.demo.catalogue import BAD_RELEASE, OPERATIONS, Call, Operation, Publish, Query, Step, Work

Kind = Literal["server", "client", "producer", "consumer", "internal"]
InstanceT = TypeVar("InstanceT")
_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Failure:
    """An exception: its type, its message, and whether it began in this span or came from a call."""

    error_type: str
    message: str
    here: bool


@dataclass(slots=True)
class Node(Generic[InstanceT]):
    """One span to be.

    Attributes:
        operation: set on server and consumer spans.
        step: set on the others.
        fallbacks: when an optional call failed and was replaced.
        same_trace: of a consumer: whether it continues the producer's trace; it links to the producer either way.
    """

    instance: InstanceT
    kind: Kind
    start_ns: int
    end_ns: int = 0
    operation: Operation | None = None
    step: Step | None = None
    failure: Failure | None = None
    fallbacks: list[int] = field(default_factory=list)
    same_trace: bool = True
    children: list[Node[InstanceT]] = field(default_factory=list)

    def last_ns(self) -> int:
        """When the last span below this one ends."""
        return max([self.end_ns, *(child.last_ns() for child in self.children)])


class Planner(Generic[InstanceT]):
    """Draws requests. `pick` chooses an instance of a service, `version` tells which release it runs."""

    def __init__(
        self, rng: random.Random, pick: Callable[[str], InstanceT], version: Callable[[InstanceT], str]
    ) -> None:
        self._rng = rng
        self._pick = pick
        self._version = version

    def request(self, entry: str) -> Node[InstanceT]:
        """One request to `entry`, a name in the catalogue of operations."""
        return self._serve(OPERATIONS[entry], 0, "server")

    def _duration_ns(self, median_ms: float) -> int:
        return int(median_ms * _MS * math.exp(self._rng.gauss(0.0, 0.35)))

    def _serve(self, operation: Operation, start_ns: int, kind: Kind, *, same_trace: bool = True) -> Node[InstanceT]:
        instance = self._pick(operation.service)
        node = Node(instance, kind, start_ns, operation=operation, same_trace=same_trace)
        own_ns = self._duration_ns(operation.own_ms)
        cursor_ns = start_ns + own_ns // 3
        failing, slow_ns = self._fate(operation, instance)
        for index, group in enumerate(operation.steps):
            steps = group if isinstance(group, tuple) else (group,)
            children = [self._step(node, step, cursor_ns) for step in steps]
            # The slow release waits in its last internal step, where an engineer should find it.
            if slow_ns and index == len(operation.steps) - 1:
                children[-1].end_ns += slow_ns
            node.children += children
            cursor_ns = max([cursor_ns, *(child.end_ns for child in children)])
            failed = [c for c in children if c.failure and not (isinstance(c.step, Call) and c.step.optional)]
            node.fallbacks += [c.end_ns for c in children if c.failure and c not in failed]
            if failed and (cause := failed[0].failure):
                node.failure = Failure(cause.error_type, cause.message, here=False)
                break
        if failing:
            node.failure = Failure(*failing, here=True)
        node.end_ns = cursor_ns + own_ns - own_ns // 3
        return node

    def _fate(self, operation: Operation, instance: InstanceT) -> tuple[tuple[str, str] | None, int]:
        """The failure of this request, if it fails in the operation itself, and what the bad release adds, ns."""
        bad = operation.name == BAD_RELEASE.operation and self._version(instance) == BAD_RELEASE.version
        draw = self._rng.random()
        if bad and draw < BAD_RELEASE.failure_share:
            return BAD_RELEASE.failure, self._duration_ns(BAD_RELEASE.slow_ms)
        if bad and draw < BAD_RELEASE.failure_share + BAD_RELEASE.slow_share:
            return None, self._duration_ns(BAD_RELEASE.slow_ms)
        if draw > 1 - operation.failure_share:
            return operation.failure, 0
        return None, 0

    def _step(self, owner: Node[InstanceT], step: Step, start_ns: int) -> Node[InstanceT]:
        if isinstance(step, Work):
            end_ns = start_ns + self._duration_ns(step.median_ms)
            return Node(owner.instance, "internal", start_ns, end_ns, step=step)
        if isinstance(step, Query):
            end_ns = start_ns + self._duration_ns(step.median_ms)
            return Node(owner.instance, "client", start_ns, end_ns, step=step)
        if isinstance(step, Publish):
            node = Node(owner.instance, "producer", start_ns, start_ns + self._duration_ns(0.8), step=step)
            received_ns = node.end_ns + self._duration_ns(step.delay_ms)
            consumer = self._serve(OPERATIONS[step.operation], received_ns, "consumer", same_trace=step.same_trace)
            node.children.append(consumer)
            return node
        node = Node(owner.instance, "client", start_ns, step=step)
        there = self._serve(OPERATIONS[step.operation], start_ns + self._duration_ns(0.4), "server")
        node.children.append(there)
        node.end_ns = there.end_ns + self._duration_ns(0.4)
        if there.failure:
            node.failure = Failure(there.failure.error_type, there.failure.message, here=False)
        return node

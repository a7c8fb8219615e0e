"""`sluiceway audit`."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated

import typer

from schemas.shown import json_exact
from sluiceway.audit import Report, Verdict
from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.commands.output import say
from sluiceway.config import Config

_PROGRESS_S = 3.0
EXIT_CODES = {Verdict.BALANCED: 0, Verdict.IMBALANCED: 1, Verdict.MOVING: 2}


def audit(
    timeout_s: Annotated[
        float,
        typer.Option("--timeout", min=0, help="How long to look for a moment without a batch under way, seconds."),
    ] = 30,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as one JSON object.")] = False,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Prove conservation: received = stored + rejected + sampled out + dead-lettered + in flight.

    Compares log, ledger, tables and rollups per tenant, signal and hop, while the pipeline runs, however many processes
    it has. On Kafka it reads what the topics still keep, to count it, and says how far it is. Exit code 0:
    balanced. 1: items are missing or too many. 2: it cannot be told (store or log away, or always a batch under way).

    Example: `sluiceway audit --data-dir data`
    """
    report = run(loaded(config_file, data_dir).config, timeout_s=timeout_s)
    if as_json:
        say(json_exact(json.dumps(to_json(report))))
    else:
        print_report(report)
    raise typer.Exit(EXIT_CODES[report.verdict])


def run(config: Config, *, timeout_s: float) -> Report:
    """Read log and store and compare; raises LogUnavailableError or StoreUnavailableError."""
    from sluiceway.audit_read import read_until_still  # noqa: PLC0415
    from sluiceway.log_access import LogAccess  # noqa: PLC0415
    from sluiceway.store_access import StoreAccess  # noqa: PLC0415

    with LogAccess(config).inspected(_Progress()) as log, StoreAccess.of(config).reader() as client:
        return read_until_still(log, client, config.retention, timeout_s=timeout_s)


class _Progress:
    """Says on stderr how far the log was read, once that takes longer than some seconds."""

    def __init__(self) -> None:
        self._next_s = time.monotonic() + _PROGRESS_S

    def __call__(self, read: int, of: int) -> None:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _PROGRESS_S
            say(f"read {read} of {of} records of the log", err=True)


def print_report(report: Report) -> None:
    """The lines as a table, then the verdict in a sentence."""
    from sluiceway.commands.output import print_table  # noqa: PLC0415

    names = ["tenant", "signal", "hop", "where", "should be", "is", "difference", "verdict", "account"]
    rows = []
    for line in report.lines:
        expected = f"{line.low}" if line.low == line.high else f"{line.low} to {line.high}"
        difference = f"{line.difference:+d}" if line.difference else "0"
        whose = [line.tenant or "(none)", str(line.signal), line.hop, line.place]
        rows.append([*whose, expected, str(line.actual), difference, str(line.verdict), line.account])
    print_table(names, rows, right=[name in ("should be", "is", "difference") for name in names])
    for (signal, tenant), count in report.waiting_dead_letters.items():
        say(f"{count} dead letters of {signal}, tenant {tenant or '(none)'}, wait: sluiceway deadletters list")
    say(summary(report))


def summary(report: Report) -> str:
    """The verdict in a sentence."""
    if report.verdict is Verdict.IMBALANCED:
        wrong = [line for line in report.lines if line.difference]
        return f"IMBALANCED: {len(wrong)} of {len(report.lines)} comparisons differ"
    if report.verdict is Verdict.MOVING:
        return (
            "cannot be told: a batch was under way at every look, or another log fills the same store; "
            "try again, or with a longer --timeout"
        )
    received = sum(line.actual for line in report.lines if line.hop == "ingest")
    return f"balanced: {received} items received, every one accounted for at every hop"


def to_json(report: Report) -> dict[str, object]:
    """The report with stable names."""
    lines = [asdict(line) | {"difference": line.difference, "verdict": line.verdict} for line in report.lines]
    waiting = [{"signal": s, "tenant": t, "records": n} for (s, t), n in report.waiting_dead_letters.items()]
    return {"verdict": report.verdict, "lines": lines, "waiting_dead_letters": waiting}

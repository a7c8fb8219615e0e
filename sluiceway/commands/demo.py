"""`sluiceway demo`: a pipeline in a process of its own, a shop that sends to it, and the audit at the end."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import LogUnavailableError, SluicewayError, StoreUnavailableError
from schemas.telemetry import SELF_TENANT
from sluiceway import open_files
from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.config import Config

if TYPE_CHECKING:
    from sluiceway.audit import Report as AuditReport
    from sluiceway.demo.shop import Progress, Report

_START_TIMEOUT_S = 180
# The first start on a machine compiles the decoder, which takes a minute or two on a slow or busy one.
_STORED_TIMEOUT_S = 600
_AUDIT_TIMEOUT_S = 30
_STOP_TIMEOUT_S = 60
_POLL_S = 0.5


def demo(
    seconds: Annotated[
        float | None, typer.Option("--seconds", "-s", min=1, help="Seconds of traffic; without it, until Ctrl-C.")
    ] = None,
    rate: Annotated[
        float, typer.Option(min=0.1, help="Requests to the shop a second; each makes about ten spans.")
    ] = 20,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Run a shop of eight services against the pipeline, with a bad release on the way, and audit what arrived.

    Starts the pipeline unless one runs already. The exit code is that of `sluiceway audit`.

    Example: `sluiceway demo --seconds 60`
    """
    config = loaded(config_file, data_dir).config
    from sluiceway.doctor import running_pid  # noqa: PLC0415

    open_files.raise_limit()
    if pid := running_pid(config):
        typer.echo(f"a Sluiceway runs here already (pid {pid}): sending to it")
        code = _traffic_and_audit(config, seconds, rate)
    else:
        with _pipeline(config, config_file, data_dir):
            code = _traffic_and_audit(config, seconds, rate)
    raise typer.Exit(code)


@contextmanager
def _pipeline(config: Config, config_file: Path | None, data_dir: Path | None) -> Iterator[None]:
    """`sluiceway up` as a child, in a session of its own: Ctrl-C ends the traffic first and the pipeline after it."""
    from sluiceway.doctor import running_pid  # noqa: PLC0415

    command = [sys.executable, "-m", "sluiceway", "up", "--exit-with-parent"]
    command += ["--config", str(config_file)] if config_file else []
    command += ["--data-dir", str(data_dir)] if data_dir else []
    with subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL) as child:
        try:
            deadline = time.monotonic() + _START_TIMEOUT_S
            # It takes the folder once its ports are open; another program on the same ports must not get the traffic.
            while running_pid(config) != child.pid:
                if child.poll() is not None:
                    raise SluicewayError(f"the pipeline ended with exit code {child.returncode} while it started")
                if time.monotonic() > deadline:
                    raise SluicewayError(f"the pipeline did not open its ports within {_START_TIMEOUT_S} s")
                time.sleep(_POLL_S)
            yield
        finally:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                child.kill()


def _traffic_and_audit(config: Config, seconds: float | None, rate: float) -> int:
    from sluiceway.commands.audit import EXIT_CODES, print_report  # noqa: PLC0415
    from sluiceway.demo.shop import run_demo  # noqa: PLC0415

    http = f"http://{config.ingest.http_host}:{config.ingest.http_port}"
    grpc = f"http://{config.ingest.grpc_host}:{config.ingest.grpc_port}"
    pages = f"http://{config.viewer.host}:{config.viewer.port}"
    typer.echo(f"look at      {pages}, dashboards {pages}/boards, alerts {pages}/alerts")
    typer.echo('ask          sluiceway query "SELECT ServiceName, count() FROM otel_traces GROUP BY 1"')
    typer.echo(f"send more    OTLP to {grpc} (gRPC) or {http} (HTTP)")
    typer.echo(f"traffic      {f'{seconds:g} s' if seconds else 'until Ctrl-C'}, payment 1.4.2 is a bad release")
    sent = run_demo(grpc, http, seconds, rate, _Printer())
    _print_sent(sent)
    report = _audited(config)
    print_report(report)
    return EXIT_CODES[report.verdict]


def _audited(config: Config) -> AuditReport:
    """The audit, once what was sent has been stored or the time for it is over."""
    from sluiceway.audit import Verdict  # noqa: PLC0415
    from sluiceway.commands.audit import run  # noqa: PLC0415
    from sluiceway.doctor import running_pid  # noqa: PLC0415

    deadline = time.monotonic() + _STORED_TIMEOUT_S
    told = False
    while True:
        try:
            report = run(config, timeout_s=_AUDIT_TIMEOUT_S)
        except (StoreUnavailableError, LogUnavailableError):
            if time.monotonic() >= deadline or running_pid(config) is None:
                raise
        else:
            if report.verdict is Verdict.IMBALANCED or not _in_flight(report) or time.monotonic() >= deadline:
                return report
        if not told:
            typer.echo("waiting until all of it is stored; after a first start the decoder is still being compiled")
            told = True
        time.sleep(_POLL_S)


def _in_flight(report: AuditReport) -> int:
    """Items of others than ourselves: our own telemetry keeps coming."""
    return sum(line.in_flight for line in report.lines if line.tenant != SELF_TENANT)


class _Printer:
    """Progress: one line that is rewritten on a terminal, one every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._next_s = 0.0
        self._released = 0

    def __call__(self, progress: Progress) -> None:
        items = sum(progress.acked.values())
        line = (f"{progress.elapsed_s:6.0f} s  {int(progress.hour):02d}:{int(progress.hour % 1 * 60):02d} in the shop  "
                f"{progress.requests} requests  {items} items acked")  # fmt: skip
        if progress.released and not self._released:
            self._released = progress.released
            typer.echo(f"{self._end()}{progress.elapsed_s:6.0f} s  payment 1.4.2 rolls out: watch payment.Charge")
        if sys.stdout.isatty():
            typer.echo(f"\r{line}\x1b[K", nl=False)
        elif progress.elapsed_s >= self._next_s:
            self._next_s = progress.elapsed_s + 10
            typer.echo(line)

    @staticmethod
    def _end() -> str:
        return "\n" if sys.stdout.isatty() else ""


def _print_sent(sent: Report) -> None:
    made, acked = sum(sent.made.values()), sum(sent.acked.values())
    typer.echo(f"{_Printer._end()}sent         {made} items in {sent.elapsed_s:.0f} s, {acked} acked")
    if not sent.complete:
        typer.echo(f"not acked    {made - acked} items: the exporters gave up on them or were cut off", err=True)

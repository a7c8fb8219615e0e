"""`sluiceway up`, `sluiceway ingest`, `sluiceway process`: the commands that run until they are stopped."""

from __future__ import annotations

import ctypes
import logging
import os
import signal as signals
import sys
from collections.abc import Callable, Collection
from typing import Annotated

import typer

from schemas.errors import ConfigurationError
from schemas.shown import shown_lines
from schemas.signals import Signal
from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.config import Config
from sluiceway.file_modes import keep_private

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def up(
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
    exit_with_parent: Annotated[bool, typer.Option("--exit-with-parent", hidden=True)] = False,
) -> None:
    """Run the whole pipeline on this machine until Ctrl-C: receivers, log, processors, store, viewer.

    Examples:

    `sluiceway up`

    `sluiceway up --data-dir /var/lib/sluiceway --config /etc/sluiceway.yaml`
    """
    if exit_with_parent:
        _end_with_parent()
    config = loaded(config_file, data_dir).config
    # The demo says by itself where to look.
    _run(config, "up", on_ready=None if exit_with_parent else lambda: _say_where(config))


def ingest(config_file: ConfigFile = None) -> None:
    """Run the receivers: OTLP in, acknowledged once Kafka has it. Needs `kafka.bootstrap_servers`; keeps nothing.

    Run as many as the load needs, behind any load balancer. Probes and /metrics are on the viewer's port.

    Example: `sluiceway ingest --config /etc/sluiceway.yaml`
    """
    config = loaded(config_file).config
    _run(config, "ingest", (), on_ready=lambda: _say_intake(config))


def process(
    of: Annotated[
        str | None,
        typer.Option("--signals", "-s", metavar="LIST", help="Only these, as `traces,logs`. Default: all three."),
    ] = None,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Run processors: records out of Kafka, decoded, into ClickHouse exactly once. Needs `kafka.bootstrap_servers`.

    Run up to one a partition; they share the partitions by themselves. SIGTERM finishes the batch under way and hands
    the partitions over. Without `store.url` it starts the embedded store in the data folder.

    Examples: `sluiceway process`, `sluiceway process --signals traces`
    """
    config = loaded(config_file, data_dir).config
    _run(config, "process", _signals(of), on_ready=lambda: _say_pages(config))


def _run(
    config: Config,
    role: str,
    of: Collection[Signal] = tuple(Signal),
    *,
    on_ready: Callable[[], None] | None,
) -> None:
    # Before anything that writes a file is imported: the compiled code is kept too.
    keep_private(config)
    from sluiceway import pipeline  # noqa: PLC0415

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Shown(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    # One line a request or connection would drown what an operator must see.
    for name in ("uvicorn", "clickhouse_connect", "opentelemetry", "kafka"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # They repeat several times a second what we say once: a topic that is not there yet, a loop that paused.
    # And at every connection that PLAIN without TLS sends the password in the clear: whoever set both knows.
    for name in ("kafka.cluster", "kafka.net.selector", "kafka.net.sasl.plain"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    raise typer.Exit(pipeline.run(config, pipeline.Role(role), of, on_ready=on_ready))


class _Shown(logging.Formatter):
    """A line may quote what a client sent."""

    def format(self, record: logging.LogRecord) -> str:
        return shown_lines(super().format(record))


def _signals(of: str | None) -> tuple[Signal, ...]:
    if of is None:
        return tuple(Signal)
    names = [name.strip() for name in of.split(",") if name.strip()]
    wrong = [name for name in names if name not in set(Signal)]
    if wrong or not names:
        raise ConfigurationError(f"--signals: must be some of {', '.join(Signal)}, with commas; got {of!r}")
    return tuple(signal for signal in Signal if signal in names)


def _say_where(config: Config) -> None:
    _say_intake(config)
    _say_pages(config)
    store = config.store
    reader = "default" if store.url is None else store.reader_user or store.user or "default"
    url = store.url or f"http://{store.host}:{store.http_port}"
    typer.echo(f"ClickHouse at  {url}, user {reader}, database {store.database}")
    typer.echo(f"data in        {config.data_dir.absolute()}")


def _say_intake(config: Config) -> None:
    at = config.ingest
    typer.echo(f"send OTLP to   {at.grpc_host}:{at.grpc_port} (gRPC), http://{at.http_host}:{at.http_port}")


def _say_pages(config: Config) -> None:
    if config.viewer.enabled:
        typer.echo(f"look at        http://{config.viewer.host}:{config.viewer.port}")


def _end_with_parent() -> None:
    """Have the kernel end us in order when the process that started us is gone, however it went."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signals.SIGTERM)
    if os.getppid() != parent:
        # It went before the kernel was told.
        raise typer.Exit(1)

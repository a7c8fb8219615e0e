"""`sluiceway up`."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from typing import Annotated

import typer

from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.config import Config

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
    from sluiceway.embedded import all_in_one  # noqa: PLC0415

    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format=_FORMAT)
    # One line a request or connection would drown what an operator must see.
    for name in ("uvicorn", "clickhouse_connect", "opentelemetry", "nicegui"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # The demo says by itself where to look.
    raise typer.Exit(all_in_one.run(config, on_ready=None if exit_with_parent else lambda _: _say_where(config)))


def _say_where(config: Config) -> None:
    ingest, store, viewer = config.ingest, config.store, config.viewer
    typer.echo(
        f"send OTLP to   {ingest.grpc_host}:{ingest.grpc_port} (gRPC), http://{ingest.http_host}:{ingest.http_port}"
    )
    if viewer.enabled:
        typer.echo(f"look at        http://{viewer.host}:{viewer.port}")
    reader = "default" if store.url is None else store.reader_user or store.user or "default"
    url = store.url or f"http://{store.host}:{store.http_port}"
    typer.echo(f"ClickHouse at  {url}, user {reader}, database {store.database}")
    typer.echo(f"data in        {config.data_dir.absolute()}")


def _end_with_parent() -> None:
    """Have the kernel end us in order when the process that started us is gone, however it went."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)
    if os.getppid() != parent:
        # It went before the kernel was told.
        raise typer.Exit(1)

"""`sluiceway up`."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from typing import Annotated

import typer

from sluiceway.commands.options import ConfigFile, DataDir, loaded


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

    raise typer.Exit(all_in_one.run(config))


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

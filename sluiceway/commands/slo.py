"""`sluiceway slo validate | status | propose`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from sluiceway.commands.options import ConfigFile, DataDir, loaded
from sluiceway.commands.output import say

app = typer.Typer(no_args_is_help=True, help="Service level objectives: OpenSLO files, and what is left of budgets.")
_Folder = Annotated[Path, typer.Option("--slos", metavar="DIR", help="Folder with OpenSLO files; see docs/slos.md.")]
_FOLDER = Path("slos")
_DAY_S = 86_400


@app.command()
def validate(slos: _Folder = _FOLDER) -> None:
    """Read all files and print their objectives, or every fault with its file, line, field and rule.

    Example: `sluiceway slo validate --slos slos`
    """
    from dashboards.slo.files import read  # noqa: PLC0415
    from sluiceway.commands.output import print_table  # noqa: PLC0415

    rows = []
    for of in read(slos):
        within = "" if of.measured_threshold_ns is None else f"{of.measured_threshold_ns / 1e6:.4g} ms"
        pairs = ", ".join(f"{pair.name} {pair.factor(of.period_s):g}" for pair in of.burn_rates)
        period = f"{of.period_s // _DAY_S}d"
        rows.append([of.name, of.service, f"{of.target:.6g}", period, within, str(of.min_failures), pairs])
    names = ["objective", "service", "target", "period", "within", "fires from bad calls", "burn rates"]
    print_table(names, rows)
    say(f"{len(rows)} objectives")


@app.command()
def status(slos: _Folder = _FOLDER, config_file: ConfigFile = None, data_dir: DataDir = None) -> None:
    """Print what is left of every error budget; exit code 1 when one is spent.

    Example: `sluiceway slo status`
    """
    from dashboards.grafana.macros import Range, expand  # noqa: PLC0415
    from dashboards.slo.files import read  # noqa: PLC0415
    from dashboards.slo.objective import query  # noqa: PLC0415
    from sluiceway.commands.output import print_table  # noqa: PLC0415
    from sluiceway.store_access import StoreAccess  # noqa: PLC0415

    objectives = read(slos)
    if not objectives:
        say(f"no objectives in {slos}")
        return
    now_s = int(time.time())
    sql = expand(query("budgets", objectives), Range(now_s - _DAY_S, now_s))
    with StoreAccess.of(loaded(config_file, data_dir).config).reader() as client:
        found = client.query(sql).named_results()
        rows = list(found)
    names = ["objective", "service", "target", "good", "budget left", "burn rate", "calls", "bad"]
    print_table(
        names,
        [
            [
                row["SLO"],
                row["Service"],
                f"{row['Target']:.6g}",
                _share(row["Good"]),
                _share(row["BudgetLeft"]),
                f"{row['BurnRate']:.3g}",
                str(row["Calls"]),
                str(row["BadCalls"]),
            ]
            for row in rows
        ],
        right=[False, False, *[True] * 6],
    )
    raise typer.Exit(1 if any(row["BudgetLeft"] is not None and row["BudgetLeft"] <= 0 for row in rows) else 0)


@app.command()
def propose(
    to: Annotated[
        Path | None, typer.Option("--to", metavar="DIR", help="Write files there; default: print them.")
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=90, help="How many of the last days to look at.")] = 7,
    min_calls: Annotated[int, typer.Option(min=1, help="Services with fewer calls are left out.")] = 100,
    config_file: ConfigFile = None,
    data_dir: DataDir = None,
) -> None:
    """Propose objectives for the services in the store: a target of failures and one of latency each.

    Targets are what a service held with half its budget left, thresholds twice its 99th percentile. Files that exist
    are left alone.

    Example: `sluiceway slo propose --to slos`
    """
    from dashboards.slo import propose as proposing  # noqa: PLC0415
    from sluiceway.store_access import StoreAccess  # noqa: PLC0415

    now_s = int(time.time())
    parameters: dict[str, Any] = {"from_s": now_s - days * _DAY_S, "to_s": now_s + 3600, "min_calls": min_calls}
    with StoreAccess.of(loaded(config_file, data_dir).config).reader() as client:
        found = list(client.query(proposing.question(), parameters=parameters).named_results())
    if not found:
        say(f"no service had {min_calls} calls in {days} days")
    for row in found:
        for name, text in proposing.files(proposing.Observed(**row)).items():
            if to is None:
                say(f"---\n{text}", nl=False)
            elif (to / name).exists():
                say(f"kept    {to / name}")
            else:
                to.mkdir(parents=True, exist_ok=True)
                (to / name).write_text(text, "utf-8")
                say(f"wrote   {to / name}")


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4%}"

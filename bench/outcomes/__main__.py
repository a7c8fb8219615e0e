"""`python -m bench.outcomes`: prints who is paged for each incident, how soon, and whether seven quiet days page."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

from bench import store
from bench.outcomes.incidents import (
    DAY_S,
    DAY_TO_S,
    HOUR_S,
    INCIDENTS,
    MINUTE_S,
    SCRIPT,
    WEEK_FROM_S,
    WEEK_TO_S,
    Incident,
)
from bench.outcomes.play import Page, pages
from bench.outcomes.rows import write
from bench.progress import say
from dashboards.alerts import owners as ownership
from dashboards.alerts.rules import RULES
from processors import schema
from processors.service_map.settle import Settler
from processors.settings import ServiceMapSettings
from schemas.settings import RetentionSettings, StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from tests.testbed.parts import free_ports

WITHIN_S = 5 * MINUTE_S
_KEPT_DAYS = 3650
_KEPT = RetentionSettings(
    traces_days=_KEPT_DAYS, logs_days=_KEPT_DAYS, metrics_days=_KEPT_DAYS, rollups_days=_KEPT_DAYS,
    hourly_rollups_days=_KEPT_DAYS,
)  # fmt: skip
# A quiet day is looked at every so often; a page needs no longer than that.
_QUIET_STEP_S = 5 * MINUTE_S
_AT_ONCE = ServiceMapSettings(interval_s=1)


def play(folder: Path, quiet_days: int) -> tuple[list[tuple[Incident, list[Page]]], list[Page]]:
    """The pages of each incident, from five minutes before it, and those of the quiet days that end before them."""
    owners = ownership.read(Path(str(resources.files("bench.outcomes").joinpath("owners.yaml"))))
    with EmbeddedStore(folder, StoreSettings(http_port=free_ports(1)[0])) as embedded:
        client = store.connect(embedded.url, embedded.writer_user, embedded.writer_password)
        schema.apply(client, "otel", _KEPT)
        client.database = "otel"
        began_s = WEEK_TO_S - max(quiet_days, 1) * DAY_S
        for day_s in range(began_s, DAY_TO_S, DAY_S):
            say(f"writing day {(day_s - began_s) // DAY_S + 1}")
            write(client, SCRIPT, day_s, min(day_s + DAY_S, DAY_TO_S))
        say("settling the service map")
        time.sleep(_AT_ONCE.interval_s)
        Settler(client, _AT_ONCE, _KEPT_DAYS, whole_every_s=0).settle()
        of_incidents = []
        for incident in INCIDENTS:
            say(f"playing {incident.title}")
            over = (incident.from_s - 5 * MINUTE_S, incident.from_s + 10 * MINUTE_S)
            of_incidents.append((incident, list(pages(client, RULES, owners, *over, step_s=MINUTE_S))))

        def quiet(day: int) -> list[Page]:
            from_s = WEEK_TO_S - (day + 1) * DAY_S
            # What is silent or slow is so against an hour that is known.
            from_s += 2 * HOUR_S if from_s == began_s else 0
            mine = store.connect(embedded.url, embedded.writer_user, embedded.writer_password)
            mine.database = "otel"
            try:
                return list(pages(mine, RULES, owners, from_s, WEEK_TO_S - day * DAY_S, step_s=_QUIET_STEP_S,
                                  say=lambda now_s: _hourly(day, now_s)))  # fmt: skip
            finally:
                mine.close()

        with ThreadPoolExecutor(2) as pool:
            of_quiet = [page for found in pool.map(quiet, range(quiet_days)) for page in found]
        client.close()
    return of_incidents, of_quiet


def _hourly(day: int, now_s: int) -> None:
    if (now_s + 1) % (6 * HOUR_S) == 0:
        say(f"quiet day {day + 1}: {(now_s + 1 - WEEK_FROM_S) % DAY_S // HOUR_S:02} h")


def verdict(incident: Incident, found: Sequence[Page]) -> tuple[list[str], bool]:
    """A line of the table, and whether the incident was paged as it must be."""
    first = next((page for page in found if page.at_s >= incident.from_s), None)
    others = sorted(
        {f"{page.team}: {page.rule}" for page in found if page.team != incident.team or page.at_s < incident.from_s}
    )
    if first is None:
        return [incident.title, "never", "nobody", "no", "", ""], False
    after_s = first.at_s + 1 - incident.from_s
    named = all(name in first.says for name in incident.names)
    well = after_s <= WITHIN_S and first.team == incident.team and named and not others
    return [
        incident.title, f"{after_s // 60} min", f"{first.team} ({first.rule})", "yes" if named else "no",
        first.says, "; ".join(others),
    ], well  # fmt: skip


def main() -> int:
    """Command line; exit code 1 on a miss or a false page."""
    parser = argparse.ArgumentParser(prog="python -m bench.outcomes", description=__doc__)
    parser.add_argument("--quiet-days", type=int, default=7, choices=range(8), help="days without incident (default 7)")
    parser.add_argument("--folder", type=Path, help="where the store is made; default a temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="outcomes-", dir=options.folder) as name:
        of_incidents, of_quiet = play(Path(name) / "store", options.quiet_days)
    lines = [verdict(incident, found) for incident, found in of_incidents]
    heads = ["incident", "paged after", "whom (by)", "culprit named", "says", "also paged"]
    widths = [max(len(row[column]) for row in [heads, *(line for line, _ in lines)]) for column in range(len(heads))]
    for row in [heads, *(line for line, _ in lines)]:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
    print(f"{options.quiet_days} quiet days: {len(of_quiet)} pages")
    for page in of_quiet:
        print(f"  {time.strftime('%a %H:%M', time.gmtime(page.at_s))} {page.team} {page.rule}: {page.says}")
    missed = [line[0] for line, well in lines if not well]
    if missed:
        print(f"not as it must be: {', '.join(missed)}")
    return 1 if missed or of_quiet else 0


if __name__ == "__main__":
    sys.exit(main())

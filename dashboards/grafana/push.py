"""Dashboards, the data source and alert rules into a running Grafana, over its HTTP API.

Shapes: Grafana's `/api` as of version 11 to 13; rule groups differ between files and HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

from dashboards.grafana.api import Grafana
from dashboards.grafana.layout import FOLDER

FOLDER_UID = "sluiceway"
TAG = "sluiceway"
_PREFIX = "sluiceway-"
_GROUP_PREFIX = "sluiceway "
_DURATIONS = ("for", "keep_firing_for")
_UNIT_S = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "y": 31536000}
# Grafana's own of a dashboard.
_OF_SERVER = ("id", "version", "iteration")
Became = Literal["created", "updated", "same", "pruned"]


@dataclass(frozen=True, slots=True)
class Pushed:
    """What became of one object."""

    became: Became
    kind: str
    name: str


def push(
    grafana: Grafana, datasource: Mapping[str, Any], boards: Sequence[Mapping[str, Any]],
    groups: Sequence[Mapping[str, Any]], *, prune: bool = False, keep: re.Pattern[str] | None = None,
) -> Iterator[Pushed]:  # fmt: skip
    """Make the server hold these; what it holds already is not sent. An object a step, so that progress can be shown.

    Args:
        datasource: as in a provisioning file.
        boards: dashboards as in their files.
        groups: groups of alert rules as in a provisioning file.
        prune: remove dashboards and groups that are ours, and not among these.
        keep: names of dashboards that are not removed, though they are ours.

    Raises:
        GrafanaError: it stops there; what was pushed stays, and a next push goes on.
    """
    yield _folder(grafana)
    yield _datasource(grafana, datasource)
    for board in boards:
        yield _board(grafana, board)
    for group in groups:
        yield _group(grafana, group)
    if prune:
        yield from _pruned(grafana, {board["uid"] for board in boards}, {group["name"] for group in groups}, keep)


def _folder(grafana: Grafana) -> Pushed:
    found = grafana.ask("GET", f"/folders/{FOLDER_UID}")
    if found is None:
        grafana.ask("POST", "/folders", {"uid": FOLDER_UID, "title": FOLDER})
    return Pushed("same" if found else "created", "folder", FOLDER_UID)


def _datasource(grafana: Grafana, wanted: Mapping[str, Any]) -> Pushed:
    uid = str(wanted["uid"])
    body = {"access": "proxy", **wanted}
    became = _became(grafana.ask("GET", f"/datasources/uid/{uid}"), body)
    if became == "created":
        grafana.ask("POST", "/datasources", body)
    elif became == "updated":
        grafana.ask("PUT", f"/datasources/uid/{uid}", body)
    return Pushed(became, "datasource", uid)


def _board(grafana: Grafana, wanted: Mapping[str, Any]) -> Pushed:
    uid = str(wanted["uid"])
    found = grafana.ask("GET", f"/dashboards/uid/{quote(uid, safe='')}")
    held = found and found["dashboard"]
    moved = found and found.get("meta", {}).get("folderUid") != FOLDER_UID
    body = {name: value for name, value in wanted.items() if name not in _OF_SERVER}
    if held and not moved and _holds(held, body):
        return Pushed("same", "dashboard", uid)
    # No id: another server's would be another dashboard's here.
    whole = {"dashboard": {**body, "id": None}, "folderUid": FOLDER_UID, "overwrite": True, "message": "sluiceway"}
    grafana.ask("POST", "/dashboards/db", whole)
    return Pushed("updated" if held else "created", "dashboard", uid)


def _group(grafana: Grafana, group: Mapping[str, Any]) -> Pushed:
    name = str(group["name"])
    path = f"/v1/provisioning/folder/{FOLDER_UID}/rule-groups/{quote(name, safe='')}"
    body: dict[str, Any] = {
        "title": name,
        "folderUid": FOLDER_UID,
        "interval": int(str(group["interval"]).removesuffix("s")),
        "rules": [_rule(rule, name) for rule in group["rules"]],
    }
    found = grafana.ask("GET", path)
    held = found and {**found, "rules": [_comparable(rule) for rule in found["rules"]]}
    wanted = {**body, "rules": [_comparable(rule) for rule in body["rules"]]}
    became = _became(held, wanted)
    if became != "same":
        grafana.ask("PUT", path, body)
    return Pushed(became, "rules", name)


def _comparable(rule: Mapping[str, Any]) -> dict[str, Any]:
    """Grafana writes 300s as 5m, and adds no labels or annotations: those that it has and we have not are old ones."""
    durations = {name: _duration_s(str(rule.get(name) or "0s")) for name in _DURATIONS}
    texts = {
        name: [list(each) for each in sorted((rule.get(name) or {}).items())] for name in ("labels", "annotations")
    }
    return {**rule, **durations, **texts}


def _duration_s(text: str) -> float:
    return sum(float(number) * _UNIT_S[unit] for number, unit in re.findall(r"([\d.]+)(ms|[smhdwy])", text))


def _rule(rule: Mapping[str, Any], group: str) -> dict[str, Any]:
    """A rule of a file in the names that HTTP has."""
    kept = ("uid", "title", "condition", "for", "noDataState", "execErrState", "data", "labels", "annotations")
    return {
        **{name: rule[name] for name in kept},
        "keep_firing_for": rule["keepFiringFor"],
        "missingSeriesEvalsToResolve": rule["missing_series_evals_to_resolve"],
        "folderUID": FOLDER_UID,
        "ruleGroup": group,
        "orgID": 1,
    }


def _pruned(grafana: Grafana, boards: set[str], groups: set[str], keep: re.Pattern[str] | None) -> Iterator[Pushed]:
    for found in grafana.ask("GET", f"/search?type=dash-db&limit=5000&tag={TAG}&folderUIDs={FOLDER_UID}") or []:
        uid = str(found["uid"])
        # A dashboard of somebody's in our folder, with our tag, is still theirs.
        kept = uid in boards or (keep is not None and keep.fullmatch(uid))
        if uid.startswith(_PREFIX) and not kept and TAG in found.get("tags", []):
            grafana.ask("DELETE", f"/dashboards/uid/{quote(uid, safe='')}")
            yield Pushed("pruned", "dashboard", uid)
    of_rules = grafana.ask("GET", "/v1/provisioning/alert-rules") or []
    held = {str(rule["ruleGroup"]) for rule in of_rules if rule.get("folderUID") == FOLDER_UID}
    for name in sorted(held):
        if name.startswith(_GROUP_PREFIX) and name not in groups:
            grafana.ask("DELETE", f"/v1/provisioning/folder/{FOLDER_UID}/rule-groups/{quote(name, safe='')}")
            yield Pushed("pruned", "rules", name)


def _became(found: object, wanted: object) -> Became:
    return "created" if not found else "same" if _holds(found, wanted) else "updated"


def _holds(found: Any, wanted: Any) -> bool:
    """Whether all that is wanted is there. A server adds defaults of its own, which are none of ours."""
    if isinstance(wanted, Mapping):
        return isinstance(found, Mapping) and all(
            name in found and _holds(found[name], value) for name, value in wanted.items()
        )
    if isinstance(wanted, list | tuple):
        return (
            isinstance(found, list)
            and len(found) == len(wanted)
            and all(_holds(one, other) for one, other in zip(found, wanted, strict=True))
        )
    return bool(found == wanted)

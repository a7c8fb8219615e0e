"""Panels side by side on Grafana's grid of 24 columns, with ids in reading order, and the JSON of a dashboard."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import dashboard as sdk
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import GridPos, Panel

COLUMNS = 24
FOLDER = "Sluiceway"


@dataclass(frozen=True, slots=True)
class Placed:
    """A panel's builder and its size in grid units."""

    panel: Any
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Board:
    """One dashboard. `uid` names its file and its address, and never changes."""

    uid: str
    title: str
    description: str
    variables: Sequence[Any]
    rows: Sequence[Sequence[Placed]]
    annotations: Sequence[Any] = ()
    refresh: str = "1m"
    since: str = "now-1h"

    def json(self) -> str:
        """The file's text: the same for the same definition."""
        built = (
            sdk.Dashboard(self.title)
            .uid(self.uid)
            .description(self.description)
            .tags(["sluiceway"])
            .time(self.since, "now")
            .refresh(self.refresh)
            .timezone("browser")
            .readonly()
        )
        for variable in self.variables:
            built.with_variable(variable)
        for annotation in self.annotations:
            built.annotation(annotation)
        number, top = 0, 0
        for row in self.rows:
            left = 0
            for placed in row:
                number += 1
                panel: Panel = placed.panel.build()
                panel.id_val = number
                panel.grid_pos = GridPos(h=placed.height, w=placed.width, x=left, y=top)
                built.with_panel(_Built(panel))
                left += placed.width
            if left > COLUMNS:
                raise ValueError(f"{self.uid}: a row of panels must be at most {COLUMNS} wide, is {left}")
            top += max(placed.height for placed in row)
        encoded = json.loads(json.dumps(built.build(), cls=JSONEncoder))
        return json.dumps(encoded, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


class _Built(Builder[Panel]):
    """A panel that is built already, as the SDK wants its builders."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel

    def build(self) -> Panel:
        return self._panel

"""Queries of Grafana's ClickHouse plugin, in its SQL mode, and the data source that they go to.

Shapes: grafana/clickhouse-datasource 4.20, `src/types/sql.ts`.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.cog import builder, variants
from grafana_foundation_sdk.models.common import DataSourceRef

PLUGIN = "grafana-clickhouse-datasource"
PLUGIN_VERSION = "4.20.0"
DATASOURCE = DataSourceRef(type_val=PLUGIN, uid="${datasource}")


class Format(enum.IntEnum):
    """What the plugin makes of rows."""

    TIME_SERIES = 0
    TABLE = 1
    LOGS = 2
    TRACE = 3


_QUERY_TYPES = {Format.TIME_SERIES: "timeseries", Format.TABLE: "table", Format.LOGS: "logs", Format.TRACE: "traces"}


@dataclass(frozen=True, slots=True)
class Query(variants.Dataquery, builder.Builder[variants.Dataquery]):
    """One target of a panel. `sql` may hold the plugin's macros and the dashboard's variables."""

    sql: str
    format: Format = Format.TIME_SERIES
    ref_id: str = "A"

    def build(self) -> variants.Dataquery:
        """Itself, for the SDK's builders."""
        return self

    def to_json(self) -> dict[str, Any]:
        """As in a dashboard file."""
        return {
            "refId": self.ref_id,
            "datasource": DATASOURCE,
            "pluginVersion": PLUGIN_VERSION,
            "editorType": "sql",
            "rawSql": self.sql,
            "format": int(self.format),
            "queryType": _QUERY_TYPES[self.format],
        }

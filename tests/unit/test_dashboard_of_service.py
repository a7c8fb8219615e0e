"""A dashboard made of what one service sends: its sections, its bounds, and its name."""

from __future__ import annotations

import json
import re
from typing import Any

from dashboards.boards.file import read
from dashboards.definitions.inventory import Inventory, Metric
from dashboards.definitions.of_service import METRICS_MAX, OF_INVENTORY, board, uid_of
from dashboards.grafana.macros import Range, expand

CART = Inventory(
    "cart",
    spans=True,
    edges=("call", "database"),
    metrics=(
        Metric("http.server.request.duration", "histogram", "s", monotonic=False),
        Metric("db.client.connection.count", "sum", "{connection}", monotonic=False),
        Metric("process.cpu.time", "sum", "s", monotonic=True),
        Metric("carts.open", "gauge", "1", monotonic=False),
        Metric("rpc.client.call.duration", "exponential_histogram", "s", monotonic=False),
    ),
)


def titles(of: Inventory) -> list[str]:
    return [panel["title"] for panel in json.loads(board(of).json())["panels"]]


def test_it_has_the_sections_of_what_it_sends_and_no_others() -> None:
    assert titles(CART)[:3] == ["Rate", "Errors", "Latency"]
    assert titles(CART)[-6:] == [
        "HTTP: http.server.request.duration",
        "RPC: rpc.client.call.duration",
        "Databases",
        "Databases: db.client.connection.count",
        "Runtime: process.cpu.time",
        "Its own: carts.open",
    ]
    without = Inventory("cart", spans=True, edges=("call",), metrics=())
    assert not any("Databases" in title or "Messaging" in title for title in titles(without))
    assert titles(Inventory("cart", spans=False, edges=(), metrics=CART.metrics[:1])) == [
        "HTTP: http.server.request.duration"
    ]


def test_the_kind_of_a_metric_decides_its_panel_and_its_unit() -> None:
    panels = {panel.title.rpartition(": ")[2]: panel for panel in read(board(CART).json()).panels}
    assert "histogram_quantile_1m" in panels["http.server.request.duration"].queries["A"]
    assert "exponential_histogram_quantile_1m" in panels["rpc.client.call.duration"].queries["A"]
    assert "counter_1m" in panels["process.cpu.time"].queries["A"]
    assert "gauge_1m" in panels["carts.open"].queries["A"]
    assert panels["http.server.request.duration"].unit == "s"


def test_the_same_inventory_gives_the_same_file() -> None:
    assert board(CART).json() == board(CART).json()


def test_many_metrics_are_named_instead_of_shown() -> None:
    many = Inventory("cart", spans=False, edges=(), metrics=tuple(
        Metric(f"m{number:03}", "gauge", "1", monotonic=False) for number in range(METRICS_MAX + 2)
    ))  # fmt: skip
    assert len(titles(many)) == METRICS_MAX
    assert json.loads(board(many).json())["description"].endswith("Not shown: m040, m041.")


def test_names_of_services_are_told_apart_and_fit() -> None:
    names = ["cart", "Cart", "cart ", "a/b", "../..", "", "é", "x" * 300, "x" * 299, "-"]
    uids = [uid_of(name) for name in names]
    assert len(set(uids)) == len(names)
    assert all(len(uid) <= 40 and OF_INVENTORY.fullmatch(uid) and re.fullmatch(r"[a-z0-9-]+", uid) for uid in uids)
    fixed = ["sluiceway-service", "sluiceway-service-map"]
    assert not any(OF_INVENTORY.fullmatch(uid) for uid in fixed)


def test_a_hostile_name_is_neither_sql_nor_a_macro() -> None:
    hostile = "it's $__timeFilter( ${environment} [[service]] \\"
    of = Inventory(
        hostile, spans=True, edges=("database",), metrics=(Metric(hostile, "gauge", hostile, monotonic=False),)
    )
    plain = Inventory(
        "plain", spans=True, edges=("database",), metrics=(Metric("plain", "gauge", "", monotonic=False),)
    )

    def statements(inventory: Inventory) -> list[Any]:
        found = read(board(inventory).json())
        fixed = {each.name: each.fixed or "" for each in found.variables}
        return [expand(sql, Range(0, 3600, 60, fixed)) for panel in found.panels for sql in panel.queries.values()]

    escaped = "'it\\'s \\x24__timeFilter( \\x24{environment} [\\x5bservice]] \\\\'"
    assert statements(of) == [sql.replace("'plain'", escaped) for sql in statements(plain)]

"""The SQL of the panels: a file for each, in the folder of its dashboard."""

from __future__ import annotations

from importlib import resources

from schemas import sql


def read(board: str, name: str) -> str:
    """The statement of a panel, what it shares with the viewer's questions included."""
    folder = resources.files("dashboards").joinpath("definitions", "sql", board)
    return sql.read(folder, name, resources.files("dashboards").joinpath("queries")).strip()

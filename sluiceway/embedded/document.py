"""A tree of names and values as the XML that ClickHouse reads."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "Tree | str | int | float | Sequence[str | Tree]"
Tree: TypeAlias = "Mapping[str, Value]"


def document(tree: Tree) -> str:
    """The tree as ClickHouse reads it; a name that begins with @ is an attribute, a list repeats its name."""
    root = ET.Element("clickhouse")
    _append(root, tree)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode") + "\n"


def _append(parent: ET.Element, tree: Tree) -> None:
    for name, value in tree.items():
        if name.startswith("@"):
            parent.set(name[1:], str(value))
        else:
            for item in value if isinstance(value, list) else [value]:
                element = ET.SubElement(parent, name)
                if isinstance(item, Mapping):
                    _append(element, item)
                else:
                    element.text = str(item)

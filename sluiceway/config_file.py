"""The configuration file: YAML or TOML to a plain mapping, refused by line where it is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from schemas.errors import ConfigurationError

NAMES = ("sluiceway.yaml", "sluiceway.yml", "sluiceway.toml")
# A configuration is a few KB; more is a wrong file, and must not be read whole to find that out.
MAX_FILE_BYTES = 1024 * 1024


class _UniqueKeys(yaml.SafeLoader):
    """YAML lets a repeated key win silently; a setting given twice is refused here."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable) or key in seen:
                rule = f"key {key!r} is given twice or is no name"
                raise yaml.constructor.ConstructorError(None, None, rule, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def find_file(folder: Path) -> Path | None:
    """The configuration file of a folder, if it has one.

    Raises:
        ConfigurationError: the folder has several.
    """
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ConfigurationError(f"config file: must be only one (name it with --config); got {names} in {folder}")
    return found[0] if found else None


def read_file(path: Path) -> dict[str, Any]:
    """The file's values as nested mappings; an empty file has none.

    Raises:
        ConfigurationError: unreadable, not YAML or TOML, not a mapping, or a key given twice.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f"config file: must be readable ({error.strerror}); got {str(path)!r}") from error
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigurationError(f"config file: must be at most {MAX_FILE_BYTES} bytes; got more in {str(path)!r}")
    try:
        text = raw.decode()
        values = tomllib.loads(text) if path.suffix == ".toml" else _yaml(text)
    except (tomllib.TOMLDecodeError, yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        raise ConfigurationError(
            f"config file: must be {'TOML' if path.suffix == '.toml' else 'YAML'} ({detail}); got {str(path)!r}"
        ) from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        rule = "must be a mapping of names to values"
        raise ConfigurationError(f"config file: {rule}; got {values!r:.100} in {str(path)!r}")
    return values


def _yaml(text: str) -> Any:
    # _UniqueKeys is a SafeLoader: no tag can build an object.
    return yaml.load(text, Loader=_UniqueKeys)  # noqa: S506

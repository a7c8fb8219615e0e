"""The configuration file: YAML or TOML to a plain mapping, refused by line where it is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from schemas.documents import MAX_FILE_BYTES, DocumentError, parse_toml, parse_yaml, read_text
from schemas.errors import ConfigurationError
from schemas.shown import brief

NAMES = ("sluiceway.yaml", "sluiceway.yml", "sluiceway.toml")
__all__ = ["MAX_FILE_BYTES", "NAMES", "find_file", "read_file"]


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
    form = "TOML" if path.suffix == ".toml" else "YAML"
    try:
        text = read_text(path)
        values = parse_toml(text) if form == "TOML" else _one(text)
    except OSError as error:
        raise ConfigurationError(f"config file: must be readable ({error.strerror}); got {str(path)!r}") from error
    except DocumentError as error:
        raise ConfigurationError(f"config file: must be {form} ({error}); got {str(path)!r}") from error
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        rule = "must be a mapping of names to values"
        raise ConfigurationError(f"config file: {rule}; got {brief(values)} in {str(path)!r}")
    return values


def _one(text: str) -> Any:
    documents = parse_yaml(text)
    if len(documents) > 1:
        raise DocumentError(f"must be one document; got {len(documents)}")
    return documents[0].values if documents else None

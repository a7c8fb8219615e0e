"""How many files this process may have open: raised at start, and what connections may take of it.

A connection is an open file, and so is every part of the log and the store's clients. A server that runs out of them
accepts nobody and cannot open what it needs to serve those whom it has.
"""

from __future__ import annotations

import logging
import resource
from collections.abc import Mapping

from schemas.settings import Section
from sluiceway.config import SETTINGS, Config, Setting

_log = logging.getLogger(__name__)
# Linux's own bound on the hard limit (fs.nr_open); what says infinity means this.
_MOST = 1 << 20
# For all but connections from outside: the log, the store's clients, what is imported.
KEPT = 256
_FEWEST = 64


def limits() -> tuple[int, int]:
    """Open files that this process may have now, and may raise this to."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    return (most if soft == resource.RLIM_INFINITY else soft), most


def raise_limit() -> int:
    """Raise the soft limit to the hard one, for us and the processes that we start; the limit that is in force."""
    soft, most = limits()
    if soft < most:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        except (OSError, ValueError) as error:
            _log.warning("open files: at most %d, cannot be raised to %d: %s", soft, most, error)
            return soft
        _log.info("open files: at most %d, raised from %d", most, soft)
        return most
    _log.info("open files: at most %d", soft)
    return soft


def needed(config: Config) -> int:
    """Open files that all allowed connections and the rest take together."""
    connections: int = sum(bound.value_in(config) for bound in _BOUNDS)
    return KEPT + connections


def fitted(config: Config, limit: int) -> Config:
    """The configuration with bounds on connections that `limit` open files can hold; itself when they can."""
    wanted = needed(config)
    if wanted <= limit:
        return config
    fewest = {bound: min(bound.value_in(config), _fewest(bound, config)) for bound in _BOUNDS}
    share = max(0, limit - KEPT - sum(fewest.values())) / max(1, wanted - KEPT - sum(fewest.values()))
    sections: dict[str, dict[str, int]] = {}
    for bound, few in fewest.items():
        section, name = bound.path
        sections.setdefault(section, {})[name] = few + int(min(1.0, share) * (bound.value_in(config) - few))
    _log.warning(
        "open files: at most %d, of which %d are needed for the connections that are allowed; lowered to %s. "
        "Raise the hard limit (ulimit -Hn, LimitNOFILE=, ulimits of a container)",
        limit,
        wanted,
        ", ".join(f"{section}.{name}={value}" for section, of in sections.items() for name, value in of.items()),
    )
    return config.model_copy(update={name: _with(config, name, values) for name, values in sections.items()})


def _fewest(bound: Setting, config: Config) -> int:
    # Fewer would be no server; the viewer's must leave room for probes beside its pages.
    return max(_FEWEST, config.viewer.max_pages + 1) if bound.path[0] == "viewer" else _FEWEST


def _with(config: Config, name: str, values: Mapping[str, int]) -> Section:
    section: Section = getattr(config, name)
    return section.model_copy(update=dict(values))


def _bounds() -> tuple[Setting, ...]:
    return tuple(each for each in SETTINGS if len(each.path) == 2 and each.path[1].endswith("max_connections"))


_BOUNDS = _bounds()

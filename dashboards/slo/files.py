"""OpenSLO files of a folder as objectives; every fault with its file, line and rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from dashboards.slo.burn_rates import BURN_RATES, BurnRate
from dashboards.slo.objective import Objective
from dashboards.slo.openslo import Indicator, ObjectivePart, Slo
from schemas.documents import DocumentError, parse_yaml, read_text
from schemas.errors import ConfigurationError
from schemas.shown import brief, cut

Where = tuple[str | int, ...]
_NS_PER_S = 1_000_000_000
_KINDS: Mapping[str, type[BaseModel]] = {"SLO": Slo, "SLI": Indicator}
# More than any folder of objectives.
_MAX_FILES = 1000
_FAULTS_TOLD = 200


@dataclass(frozen=True, slots=True)
class _Document:
    """One YAML document, and the line of each of its parts."""

    file: Path
    found: Any
    lines: Mapping[Where, int]

    def fault(self, where: Where, rule: str) -> str:
        known = next(where[:end] for end in range(len(where), -1, -1) if where[:end] in self.lines)
        field = ".".join(str(part) for part in where) or "document"
        return f"{self.file}:{self.lines[known]}: {cut(f'{field}: {rule}', 1000)}"


def read(folder: Path) -> list[Objective]:
    """The objectives of all `*.yaml` and `*.yml` files in a folder, by name.

    Raises:
        ConfigurationError: a line for each fault: the file, the line, the field, the rule, what it received.
    """
    if not folder.is_dir():
        raise ConfigurationError(f"{folder}: must be a folder with OpenSLO files")
    faults: list[str] = []
    documents: list[_Document] = []
    files = sorted([*folder.glob("*.yaml"), *folder.glob("*.yml")])
    if len(files) > _MAX_FILES:
        raise ConfigurationError(f"{folder}: must have at most {_MAX_FILES} files of objectives; got {len(files)}")
    for file in files:
        try:
            documents += _documents(file)
        except ConfigurationError as fault:
            faults.append(str(fault))
    parsed = [(document, _parsed(document, faults)) for document in documents]
    shared = {each.metadata.name: each for _, each in parsed if isinstance(each, Indicator)}
    objectives: dict[str, Objective] = {}
    for document, slo in parsed:
        if isinstance(slo, Slo):
            for number, part in enumerate(slo.spec.objectives):
                made = _objective(document, slo, number, part, shared, faults)
                if made is not None and made.name in objectives:
                    faults.append(document.fault(("metadata", "name"), f"{made.name!r} is used twice"))
                elif made is not None:
                    objectives[made.name] = made
    if faults:
        more = [f"{folder}: {len(faults) - _FAULTS_TOLD} further faults"] if len(faults) > _FAULTS_TOLD else []
        raise ConfigurationError("\n".join([*faults[:_FAULTS_TOLD], *more]))
    return [objectives[name] for name in sorted(objectives)]


def _documents(file: Path) -> Iterator[_Document]:
    try:
        found = parse_yaml(read_text(file))
    except OSError as error:
        raise ConfigurationError(f"{file}:1: must be readable YAML: {error.strerror}") from error
    except DocumentError as error:
        raise ConfigurationError(f"{file}:{error.line or 1}: must be YAML: {error.rule}") from error
    for each in found:
        if each.node is not None and each.values is not None:
            yield _Document(file, each.values, dict(_lines(file, each.node, (), set())))


def _lines(file: Path, node: yaml.Node, at: Where, seen: set[int]) -> Iterator[tuple[Where, int]]:
    if id(node) in seen:
        # Aliases of aliases are endless, or nearly.
        raise ConfigurationError(f"{file}:{node.start_mark.line + 1}: must not be used by an alias (`*name`)")
    seen.add(id(node))
    yield at, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*at, key.value)
            yield inner, key.start_mark.line + 1
            yield from ((where, line) for where, line in _lines(file, value, inner, seen) if where != inner)
    elif isinstance(node, yaml.SequenceNode):
        for number, value in enumerate(node.value):
            yield from _lines(file, value, (*at, number), seen)


def _parsed(document: _Document, faults: list[str]) -> BaseModel | None:
    kind = document.found.get("kind") if isinstance(document.found, dict) else None
    if not isinstance(kind, str) or kind not in _KINDS:
        faults.append(document.fault(("kind",), f"must be SLO or SLI, received {brief(kind)}"))
        return None
    try:
        return _KINDS[kind].model_validate(document.found)
    except ValidationError as error:
        details = error.errors(include_url=False)
        for detail in details:
            if detail["type"] == "too_short" and any(len(each["loc"]) > len(detail["loc"]) for each in details):
                # Of wrong items none is left: told by the item's own fault.
                continue
            rule = detail["msg"].removeprefix("Value error, ")
            got = "" if detail["type"] in ("value_error", "missing") else f", received {brief(detail['input'])}"
            faults.append(document.fault(detail["loc"], rule + got))
        return None


def _objective(
    document: _Document,
    slo: Slo,
    number: int,
    part: ObjectivePart,
    shared: Mapping[str, Indicator],
    faults: list[str],
) -> Objective | None:
    spec, before = slo.spec, len(faults)
    at: Where = ("spec", "objectives", number)
    indicator = spec.indicator or shared.get(spec.indicator_ref or "")
    if indicator is None:
        known = ", ".join(sorted(shared)) or "there is none"
        rule = f"must be the name of a document of kind SLI ({cut(known, 200)}), received {spec.indicator_ref!r}"
        faults.append(document.fault(("spec", "indicatorRef"), rule))
        return None
    by_threshold = indicator.spec.threshold_metric is not None
    if by_threshold != (part.value is not None) or by_threshold != (part.op is not None):
        rule = "must be there with a thresholdMetric" if by_threshold else "belong to a thresholdMetric, not to a ratio"
        faults.append(document.fault(at, f"op and value {rule}"))
    burn_rates = [pair for pair in BURN_RATES if pair.name in slo.metadata.burn_rates]
    for pair in burn_rates:
        faults += _impossible(document, (*at, "target"), pair, part.target, spec.time_window[0].seconds)
    if len(faults) > before:
        return None
    calls = indicator.spec.calls
    many = len(spec.objectives) > 1
    name = f"{slo.metadata.name}-{number + 1}" if many else slo.metadata.name
    return Objective(
        name=name,
        title=part.display_name or slo.metadata.display_name or name,
        service=spec.service,
        target=part.target,
        period_s=spec.time_window[0].seconds,
        tenant=calls.tenant,
        environment=calls.environment,
        operation=calls.operation,
        kinds=calls.kinds,
        threshold_ns=None if part.value is None else round(part.value * _NS_PER_S),
        burn_rates=burn_rates,
        min_failures=slo.metadata.min_failures,
    )


def _impossible(document: _Document, at: Where, pair: BurnRate, target: float, period_s: int) -> Sequence[str]:
    factor = pair.factor(period_s)
    if factor * (1 - target) < 1:
        return ()
    return [
        document.fault(
            at,
            f"the burn rate {factor:g} of {pair.name} can never fire, as that would be {factor * (1 - target):.0%} bad"
            f" calls: must be above {1 - 1 / factor:.4g}, or the pair be left out of the annotation"
            f" sluiceway/burn-rates, received {target!r}",
        )
    ]

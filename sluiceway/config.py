"""All settings in one tree: where each value comes from, and one clear refusal for each that is wrong.

Precedence: command line, environment, file, default. The sections belong to their packages; nothing is defined here
twice. A leaf of the tree has a dotted path (`log.max_bytes`) and an environment name (`SLUICEWAY_LOG__MAX_BYTES`).
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, Field, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from dashboards.settings import AlertSettings, ViewerSettings
from ingest.settings import IngestSettings
from processors.settings import BatchSettings, GuardSettings, ServiceMapSettings
from schemas.errors import ConfigurationError
from schemas.kafka_settings import KafkaSettings
from schemas.settings import LogSettings, RetentionSettings, StoreSettings
from schemas.shown import brief, cut
from sluiceway.config_file import find_file, read_file
from sluiceway.settings import TelemetrySettings

PREFIX = "SLUICEWAY_"
FILE_VARIABLE = "SLUICEWAY_CONFIG"
# Variables of ours that are no settings: the file itself.
_OTHER_VARIABLES = frozenset({FILE_VARIABLE})
# A refused variable is quoted back, unless its name says that its value should stay out of logs.
_SECRET_NAME = re.compile("PASS|SECRET|TOKEN|KEY|AUTH")

# Further ones are counted: a wrong file may have thousands, and a look for what each may have meant takes milliseconds.
_REFUSALS_TOLD = 50

_file_values: ContextVar[Mapping[str, Any]] = ContextVar("_file_values")


class _Environment(EnvSettingsSource):
    """Lists may be written `a,b` besides JSON; text that is neither is refused by name instead of with a traceback."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        if isinstance(value, str) and not value.lstrip().startswith(("[", "{")) and _is_list(field.annotation):
            return [part.strip() for part in value.split(",") if part.strip()]
        try:
            return super().decode_complex_value(field_name, field, value)
        except (ValueError, RecursionError) as error:
            name = next((s for s in SETTINGS if field_name in (s.path[0], s.path[-1])), None)
            shown = f"{name.dotted} ({name.env})" if name else field_name
            rule = f"must be JSON ({cut(str(error), 200)})"
            raise ConfigurationError(f"{shown}: {rule}; got {brief(value)} from environment") from error


class Config(BaseSettings):
    """Every setting of one Sluiceway."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    data_dir: Path = Field(
        Path("data"),
        description="Folder that holds everything Sluiceway keeps: log, store, secrets. Relative to the "
        "working folder.",
    )
    listen_beyond_loopback: bool = Field(
        False,
        description="Allow addresses other than loopback. Receivers and viewer have no authentication of their "
        "own: set this only where the network keeps strangers out.",
    )
    ingest: IngestSettings = Field(IngestSettings(), description="OTLP in: addresses, bounds, coalescing.")
    log: LogSettings = Field(LogSettings(), description="The embedded log.")
    kafka: KafkaSettings = Field(KafkaSettings(), description="The log on Kafka instead.")
    batch: BatchSettings = Field(BatchSettings(), description="When records become a batch, and when a consumer stops.")
    guard: GuardSettings = Field(GuardSettings(), description="Redaction, and budgets of series.")
    service_map: ServiceMapSettings = Field(ServiceMapSettings(), description="Who calls whom, from stored spans.")
    store: StoreSettings = Field(StoreSettings(), description="The ClickHouse server.")
    retention: RetentionSettings = Field(RetentionSettings(), description="How long the store keeps what it holds.")
    viewer: ViewerSettings = Field(ViewerSettings(), description="The page to look at.")
    alerts: AlertSettings = Field(AlertSettings(), description="Alert rules, and who is told.")
    telemetry: TelemetrySettings = Field(TelemetrySettings(), description="What Sluiceway says about itself.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, _Environment(settings_cls), _File(settings_cls)


class _File(PydanticBaseSettingsSource):
    """The values read from the configuration file by `load`."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return _file_values.get({}).get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        return dict(_file_values.get({}))


@dataclass(frozen=True, slots=True)
class Setting:
    """One leaf of the tree. `unit` is '' where the value has none."""

    path: tuple[str, ...]
    field: FieldInfo

    @property
    def dotted(self) -> str:
        return ".".join(self.path)

    @property
    def env(self) -> str:
        return PREFIX + "__".join(self.path).upper()

    @property
    def unit(self) -> str:
        return next((unit for end, unit in _UNITS.items() if self.path[-1].endswith(end)), "")

    @property
    def default(self) -> Any:
        return self.field.get_default(call_default_factory=True)

    def value_in(self, tree: object) -> Any:
        """The value of this leaf in a `Config`."""
        for name in self.path:
            tree = getattr(tree, name)
        return tree


_UNITS = {
    "_bytes": "bytes",
    "_s": "seconds",
    "_ms": "milliseconds",
    "_ns": "nanoseconds",
    "_days": "days",
    "_rows": "rows",
    "_items": "items",
    "_percent": "percent",
    "_ratio": "ratio",
}


@dataclass(frozen=True, slots=True)
class Loaded:
    """A valid configuration and where each value came from (dotted path to `command line`, `environment`, ...)."""

    config: Config
    sources: Mapping[str, str]
    file: Path | None


def _is_list(annotation: Any) -> bool:
    return get_origin(annotation) in (list, tuple, set, frozenset) or any(_is_list(a) for a in get_args(annotation))


def _leaves(model: type[BaseModel], path: tuple[str, ...] = ()) -> Iterator[Setting]:
    for name, field in model.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _leaves(annotation, (*path, name))
        else:
            yield Setting((*path, name), field)


SETTINGS: tuple[Setting, ...] = tuple(_leaves(Config))
_BY_PATH = {s.dotted: s for s in SETTINGS}


def load(file: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Read file and environment into one checked configuration.

    Args:
        file: a YAML or TOML file; None takes `SLUICEWAY_CONFIG`, else `sluiceway.yaml` or `sluiceway.toml` in the
            working folder, else no file.
        overrides: values from the command line by dotted path.

    Raises:
        ConfigurationError: a line for each wrong setting: dotted path, environment name, rule, value received, source.
    """
    named = file or (Path(os.environ[FILE_VARIABLE]) if os.environ.get(FILE_VARIABLE) else None)
    chosen = named or find_file(Path.cwd())
    values = read_file(chosen) if chosen else {}
    _refuse_unknown_variables()
    arguments: dict[str, Any] = {}
    for dotted, value in (overrides or {}).items():
        _place(arguments, _BY_PATH[dotted].path, value)
    sources = _sources(arguments, values)
    token = _file_values.set(values)
    try:
        config = Config(**arguments)
    except ValidationError as error:
        details = error.errors(include_url=False)
        lines = [cut(_refusal(detail, sources, chosen), 1000) for detail in details[:_REFUSALS_TOLD]]
        if len(details) > len(lines):
            lines.append(f"config: {len(details) - len(lines)} further settings are wrong")
        raise ConfigurationError("\n".join(lines)) from error
    finally:
        _file_values.reset(token)
    _refuse_wide_addresses(config, sources)
    return Loaded(config, sources, chosen)


def _place(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for name in path[:-1]:
        tree = tree.setdefault(name, {})
    tree[path[-1]] = value


def _holds(tree: object, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(tree, Mapping) or name not in tree:
            return False
        tree = tree[name]
    return True


def _sources(arguments: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, str]:
    present = {name.upper() for name in os.environ}
    return {
        s.dotted: "command line"
        if _holds(arguments, s.path)
        else "environment"
        if s.env in present
        else "file"
        if _holds(values, s.path)
        else "default"
        for s in SETTINGS
    }


def _refuse_unknown_variables() -> None:
    """A mistyped variable would otherwise leave a default in force without a word."""
    known = {setting.env.removeprefix(PREFIX): setting for setting in SETTINGS}
    lines = []
    for name in sorted(os.environ):
        upper = name.upper()
        if upper.startswith(PREFIX) and upper not in _OTHER_VARIABLES and upper.removeprefix(PREFIX) not in known:
            close = _nearest(upper.removeprefix(PREFIX), known, PREFIX)
            value = "a value" if _SECRET_NAME.search(upper) else brief(os.environ[name])
            lines.append(f"{name}: no setting has this name{close}; got {value} from environment")
    if lines:
        raise ConfigurationError("\n".join(lines))


def _nearest(name: str, known: Mapping[str, object], prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.7)
    return f", did you mean {prefix}{close[0]}" if close else ""


def _refusal(detail: ErrorDetails, sources: Mapping[str, str], file: Path | None) -> str:
    names = tuple(str(part) for part in detail["loc"])
    setting = next(
        (_BY_PATH[".".join(names[:n])] for n in range(len(names), 0, -1) if ".".join(names[:n]) in _BY_PATH), None
    )
    if detail["type"] == "extra_forbidden":
        dotted = cut(".".join(names), 200)
        rule = f"no setting has this name{_nearest(dotted, _BY_PATH)}"
        return f"{dotted}: {rule}; got {brief(detail['input'])} from {file}"
    if setting is None:
        # A rule over several settings of a section says itself what it received.
        received = "" if detail["type"] == "value_error" else f"; got {brief(detail['input'])} from {file}"
        return f"{'.'.join(names)}: {_sentence(detail['msg'])}{received}"
    source = sources[setting.dotted]
    received = "a secret" if "Secret" in str(setting.field.annotation) else _without_login(brief(detail["input"]))
    # Which entry of a list, and which field of it.
    inside = "".join(f"[{name}]" if name.isdigit() else f".{name}" for name in names[len(setting.path) :])
    return (
        f"{setting.dotted}{inside} ({setting.env}): {_sentence(detail['msg'])}; got {received} "
        f"from {file if source == 'file' else source}"
    )


def _without_login(value: str) -> str:
    """A URL that is refused for the password in it must not carry it into a log."""
    return re.sub(r"//[^/]*@", "//***@", value)


def _sentence(rule: str) -> str:
    if rule.startswith("Input should be a valid dictionary"):
        return "must be a mapping of names to values"
    return rule.removeprefix("Value error, ").replace("Input should be", "must be").rstrip(".")


def is_address(setting: Setting) -> bool:
    """True for settings that name an address to listen on."""
    name = setting.path[-1]
    return name in ("host", "listen_host") or name.endswith("_host")


def _refuse_wide_addresses(config: Config, sources: Mapping[str, str]) -> None:
    if config.listen_beyond_loopback:
        return
    lines = []
    for setting in filter(is_address, SETTINGS):
        host = setting.value_in(config)
        if host is not None and not is_loopback(host):
            rule = "must be a loopback address unless listen_beyond_loopback is true"
            lines.append(f"{setting.dotted} ({setting.env}): {rule}; got {host!r} from {sources[setting.dotted]}")
    if lines:
        raise ConfigurationError("\n".join(lines))


def is_loopback(host: str) -> bool:
    """Whether an address is of this machine only; a name that may resolve to anything is not."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        # A name may resolve to anything, and to something else tomorrow.
        return False

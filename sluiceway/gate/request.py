"""What a request to the store says: whether a page could have sent it, who asks, and which statement.

Everything is taken from an allow-list: header fields, parameters of the URL, forms of the body. A setting that is not
on it is refused with its name, not left out, so that nobody believes in one that had no effect.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from multidict import CIMultiDictProxy

from sluiceway.gate.statements import changeable_settings

# ClickHouse's src/Common/ErrorCodes.cpp: clients tell errors apart by these.
BAD_ARGUMENTS, ACCESS_DENIED, AUTHENTICATION_FAILED = 36, 497, 516
NAMES = {
    BAD_ARGUMENTS: "BAD_ARGUMENTS",
    ACCESS_DENIED: "ACCESS_DENIED",
    AUTHENTICATION_FAILED: "AUTHENTICATION_FAILED",
}
# A reader's requests stand alone and have one quota and one set of grants. clickhouse-connect names a session in each,
# and sets what it needs in each; kept, sessions would be memory and locks for whoever asks.
_DROPPED = frozenset(
    {"session_id", "session_timeout", "session_check", "close_session", "quota_key", "role", "decompress"}
)
_PARAMETERS = frozenset(
    {"database", "default_format", "query_id", "compress", "client_protocol_version", "wait_end_of_query"}
)
_MAX_PARAMETERS = 200
_HOST_NAMES = frozenset({"localhost"})


class RefusedError(Exception):
    """A request that is not passed on.

    Attributes:
        status: HTTP status.
        code: ClickHouse's code, None where no client of ClickHouse is spoken to.
    """

    def __init__(self, status: int, message: str, code: int | None = None) -> None:
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: a user with a password of the engine's, or nobody in particular (`user` is '')."""

    user: str
    password: str


def check_origin(headers: CIMultiDictProxy[str], allowed_hosts: Collection[str]) -> None:
    """Refuse what a browser may have sent, from whatever page, and names that are not ours.

    Programs send neither Origin nor any Sec- field. Browsers send Origin with every POST, and Sec-Fetch-Site with every
    request to a loopback address (Fetch, 3.1; Fetch Metadata, 2); those from before it call themselves Mozilla.

    Raises:
        RefusedError: 400 or 403.
    """
    hosts = headers.getall("Host", [])
    if len(hosts) != 1:
        raise RefusedError(400, f"Host: must stand once, received {len(hosts)}")
    if not _is_allowed(hosts[0], allowed_hosts):
        raise RefusedError(
            403,
            f"Host: must be localhost, a loopback address or one of store.allowed_hosts, received {hosts[0][:200]!r}",
        )
    signs = [name for name in headers if name.lower() in {"origin", "referer"} or name.lower().startswith("sec-")]
    if headers.get("User-Agent", "").startswith("Mozilla/"):
        signs.append("User-Agent")
    if signs:
        raise RefusedError(403, f"web pages are not served; use the viewer. Received {signs[0]}, which browsers send")


def _is_allowed(host: str, allowed_hosts: Collection[str]) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname or ""
        # Whatever hides a name in it: user information, a path, white space.
        if not host or (host.lower() not in {name, f"[{name}]"} and not _is_name_and_port(host, name)):
            return False
    except ValueError:
        return False
    if name in _HOST_NAMES or name in {each.lower() for each in allowed_hosts}:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_name_and_port(host: str, name: str) -> bool:
    head, _, port = host.lower().rpartition(":")
    return head in {name, f"[{name}]"} and port.isascii() and port.isdecimal()


def parameters(raw_query: str) -> dict[str, str]:
    """The parameters of a URL, percent-decoded byte by byte.

    Raises:
        RefusedError: one stands twice, or there are too many.
    """
    try:
        pairs = parse_qsl(
            raw_query, keep_blank_values=True, encoding="latin-1", max_num_fields=_MAX_PARAMETERS, separator="&"
        )
    except ValueError as error:
        raise RefusedError(400, f"URL: {error}", BAD_ARGUMENTS) from error
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(name for name, _ in pairs if [each for each, _ in pairs].count(name) > 1)
        raise RefusedError(400, f"URL: parameter {twice[:100]!r} must stand once", BAD_ARGUMENTS)
    return found


def caller(headers: CIMultiDictProxy[str], given: Mapping[str, str]) -> Caller:
    """Who asks, out of the one place that says so.

    Raises:
        RefusedError: it is said in several places, or in a way that we do not know.
    """
    said = [_basic(value) for value in headers.getall("Authorization", [])]
    if "user" in given or "password" in given:
        said.append(Caller(given.get("user", ""), given.get("password", "")))
    users, keys = headers.getall("X-ClickHouse-User", []), headers.getall("X-ClickHouse-Key", [])
    if users or keys:
        if len(users) > 1 or len(keys) > 1:
            raise RefusedError(400, "X-ClickHouse-User and X-ClickHouse-Key: must stand once", BAD_ARGUMENTS)
        said.append(Caller("".join(users), "".join(keys)))
    if "X-ClickHouse-SSL-Certificate-Auth" in headers:
        raise RefusedError(403, "certificates are not taken", AUTHENTICATION_FAILED)
    if len(said) > 1:
        raise RefusedError(
            400, "user: must be named in one place, received several of URL, Authorization and X-ClickHouse-User",
            BAD_ARGUMENTS,
        )  # fmt: skip
    who = said[0] if said else Caller("", "")
    # Whatever the password: it opens nothing, and JDBC drivers say `null` for none.
    return Caller("", "") if who.user in {"", "default"} else who


def _basic(value: str) -> Caller:
    scheme, _, token = value.partition(" ")
    if scheme.lower() != "basic":
        raise RefusedError(403, f"Authorization: must be Basic, received {scheme[:40]!r}", AUTHENTICATION_FAILED)
    try:
        user, colon, password = base64.b64decode(token.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise RefusedError(403, "Authorization: must be Basic with base64", AUTHENTICATION_FAILED) from error
    if not colon:
        raise RefusedError(403, "Authorization: must be Basic with user:password", AUTHENTICATION_FAILED)
    return Caller(user, password)


def reader_parameters(given: Mapping[str, str]) -> dict[str, str]:
    """What of a reader's URL goes on to the engine, which checks the values of settings.

    Raises:
        RefusedError: a parameter or setting that a reader may not send.
    """
    if given.get("decompress", "0") not in {"", "0", "false"}:
        raise RefusedError(415, "decompress: a reader's statement is sent as it is, received 1", BAD_ARGUMENTS)
    passed = {}
    for name, value in given.items():
        if name in {"query", "user", "password"} or name in _DROPPED:
            continue
        if not (name in _PARAMETERS or name in changeable_settings() or name.startswith("param_")):
            raise RefusedError(
                403,
                f"{name[:100]!r} is not among the parameters and settings that a reader may send (docs/store.md)",
                ACCESS_DENIED,
            )
        passed[name] = value
    return passed


def check_form(headers: CIMultiDictProxy[str]) -> None:
    """A reader's body is the statement, plain.

    Raises:
        RefusedError: it is compressed, or a form with tables in it.
    """
    encoding = headers.get("Content-Encoding", "identity")
    if encoding.lower() not in {"", "identity"}:
        raise RefusedError(415, f"Content-Encoding: must be identity for a reader, received {encoding[:40]!r}", 36)
    media = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if media.startswith("multipart/"):
        raise RefusedError(415, f"Content-Type: a reader sends a statement, no tables; received {media[:60]!r}", 36)


def joined(names: Iterable[str]) -> str:
    """The query of a URL and a body as one statement, as ClickHouse reads them."""
    return "\n".join(name for name in names if name)

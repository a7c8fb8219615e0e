"""Hostile requests: parameters, headers, users, paths and methods, and bytes that HTTP libraries would not send."""

from __future__ import annotations

from collections.abc import Iterator

from tests.reader.attack import Attack, Must, basic
from tests.reader.targets import Targets

# Pages and answers that ClickHouse serves beside queries, and what proxies are fooled with.
PATHS = (
    "/play", "/play/", "/play?user=default", "/dashboard", "/binary", "/merges", "/jemalloc", "/metrics", "/replicas_status", "/replicas_status?verbose=1", "/webterminal",
    "/processors_profile", "/js/uplot.js", "/js/lz-string.js", "/js/chart.js", "/static", "/admin", "/status", "/schema", "/api", "/api/v1/query?query=up", "/api/v1/read", "/api/v1/write", "/write",
    "/docs", "/mcp", "/query", "/default/query", "/clickhouse", "/favicon.ico", "/robots.txt", "//", "//play", "/./play", "/x/../play", "/%70lay", "/ping/../play", "/PLAY", "/play%00",
    "/..%2fplay", "/ping;/play", "/?/../play", "/index.html", "/healthz", "/graphite", "/handlers", "/cloud", "/keeper", "/ready", "/user_files/marker.txt", "/../../etc/passwd",
)  # fmt: skip
# The answer of somebody who has become another is among the secrets that no answer may hold.
WHO = "SELECT concat('i am ', currentUser())"
METHODS = (
    "OPTIONS",
    "PUT",
    "DELETE",
    "PATCH",
    "TRACE",
    "CONNECT",
    "PROPFIND",
    "LINK",
    "GETX",
    "get",
    "SEARCH",
    "QUERY",
)


def paths_and_methods(targets: Targets) -> Iterator[Attack]:
    for path in PATHS:
        for method in ("GET", "POST", "HEAD"):
            yield Attack("" if method != "POST" else "SELECT 1", path=path, method=method)
    for method in METHODS:
        # An answer is one to OPTIONS or the like: it must hold no permission and run nothing.
        yield Attack(f"INSERT INTO {targets.ours} (Id) VALUES (1)", path="/", method=method)
        yield Attack("", parameters={"query": f"DROP TABLE {targets.ours}"}, method=method)
    for method in ("GET", "HEAD"):
        yield Attack("", parameters={"query": f"INSERT INTO {targets.ours} (Id) VALUES (1)"}, method=method)
        yield Attack("", parameters={"query": f"DROP TABLE {targets.ours}"}, method=method)


def users(names: list[str], roles: list[str], known: list[str]) -> Iterator[Attack]:
    """Nobody is somebody else by saying so. `names` are the engine's users but the one that reads."""
    statement = WHO
    for name in (
        *names,
        "admin",
        "root",
        "viewer",
        "alerts",
        "query",
        "reader",
        "writer",
        "gate",
        "sluiceway_reader",
        "sluiceway_writer",
        "",
        " ",
        "default ",
        "sluiceway\0",
        "SLUICEWAY",
        "%73luiceway",
    ):
        for password in ("", "default", "sluiceway", name, *known):
            must = Must.BE_HARMLESS if name.strip() in ("", "default") else Must.BE_REFUSED
            yield Attack(statement, must, {"user": name, "password": password})
            yield Attack(statement, must, headers={"Authorization": basic(name, password)})
            if "\0" not in name:
                yield Attack(statement, must, headers={"X-ClickHouse-User": name, "X-ClickHouse-Key": password})
    for authorization in (
        "Bearer x",
        "Basic",
        "Basic !!!",
        "Basic " + "A" * 100_000,
        "Negotiate YII=",
        "never",
        "Digest username=sluiceway",
        basic("sluiceway:x", "y"),
        "basic c2x1aWNld2F5Og==",
    ):
        yield Attack(statement, Must.BE_HARMLESS, headers={"Authorization": authorization})
    # A role that one has not is refused, or left out: no reader has any.
    for role in (*roles, "admin", "default", "all"):
        yield Attack(statement, Must.BE_HARMLESS, {"role": role})
    for headers in (
        {"X-ClickHouse-SSL-Certificate-Auth": "on", "X-ClickHouse-User": "sluiceway"}, {"X-ClickHouse-JWT-Token": "a.b.c"},
        {"X-Forwarded-For": "127.0.0.1", "X-ClickHouse-User": "sluiceway"}, {"X-Forwarded-User": "sluiceway"}, {"X-ClickHouse-Quota": "x"},
        {"X-Real-IP": "127.0.0.1"}, {"Forwarded": "for=127.0.0.1"}, {"Cookie": "user=sluiceway"}, {"X-ClickHouse-Role": "admin"},
    ):  # fmt: skip
        yield Attack(
            statement,
            Must.BE_REFUSED
            if "sluiceway" in str(headers) and "Forwarded-User" not in str(headers) and "Cookie" not in str(headers)
            else Must.BE_HARMLESS,
            headers=headers,
        )


def parameters(targets: Targets) -> Iterator[Attack]:
    """Parameters of the URL that are no settings, with values that they are not made for."""
    insert, drop = f"INSERT INTO {targets.ours} (Id) VALUES (9)", f"DROP TABLE {targets.ours}"
    evil = str(targets.evil)
    for name in (
        "query_id", "session_id", "session_timeout", "session_check", "quota_key", "stacktrace", "compress", "decompress", "database", "default_format", "wait_end_of_query", "buffer_size",
        "client_protocol_version", "close_session", "http_method", "profile", "readonly", "query", "internal", "output_format", "input_format", "id", "log_queries", "format_schema",
        "async", "interserver_secret", "framing", "param_", "handler", "catalog", "transaction",
    ):  # fmt: skip
        for value in (
            "",
            "1",
            "-1",
            "0",
            evil,
            "../../x",
            "'",
            "a" * 5000,
            "\0",
            "system",
            "sluiceway",
            "%",
            "18446744073709551616",
        ):
            for statement in (insert, drop):
                if not (name == "decompress" and value == "1"):
                    yield Attack(statement, parameters={name: value})
            yield Attack("SELECT 1", Must.BE_HARMLESS, {name: value})
    for name, value in {
        "readonly": "0",
        "allow_ddl": "1",
        "user": "sluiceway",
        "profile": "writer",
        "max_execution_time": "0",
    }.items():
        # The same parameter twice, and under other spellings: whichever a proxy looks at, the engine must not see another.
        for query in (
            f"{name}=1&{name}={value}", f"{name}={value}&{name}=1", f"%{ord(name[0]):02x}{name[1:]}={value}", f"{name}%00={value}", f"{name}+={value}", f"+{name}={value}",
            f"{name.upper()}={value}", f"{name}={value}#x", f"&&{name}={value}", f";{name}={value}", f"x=1;{name}={value}", f"{name}[]={value}", f"?{name}={value}",
        ):  # fmt: skip
            yield Attack(drop, path=f"/?{query}")
            yield Attack(insert, path=f"/?{query}")
    for query in (
        "query=SELECT+1&query=DROP+TABLE+otel.reader_sees",
        "query=DROP+TABLE+otel.reader_sees&query=SELECT+1",
    ):
        yield Attack("", Must.BE_HARMLESS, path=f"/?{query}")
    for body in (
        "",
        " ",
        ";",
        ";;",
        "\0",
        "\xff\xfe",
        "SELECT",
        "(" * 20_000,
        "SELECT " + "1+" * 30_000 + "1",
        "SELECT '" + "x" * 600_000 + "'",
        "SELECT 1 -- " + "x" * 300_000,
        "\x1f\x8b\x08\x00",
    ):
        yield Attack(body, Must.BE_HARMLESS)
        yield Attack(body, Must.BE_HARMLESS, {"decompress": "1"})
        yield Attack(body, Must.BE_HARMLESS, headers={"Content-Encoding": "gzip"})
        yield Attack(
            body, Must.BE_HARMLESS, headers={"Content-Encoding": "zstd, gzip, br, lz4, snappy, deflate, xz, bz2"}
        )


def external_tables(targets: Targets) -> Iterator[Attack]:
    """Data that comes with a query as multipart/form-data, with names, structures and formats that reach further."""

    def multipart(name: str, filename: str, body: str) -> str:
        return f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="{filename}"\r\n\r\n{body}\r\n--b--\r\n'

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    for structure in (
        "a String",
        "a String DEFAULT file('/etc/passwd')",
        f"a String, b String ALIAS file('{targets.readable[0]}')",
        f"a String MATERIALIZED (SELECT * FROM {targets.private})",
        "a Enum8('x'",
    ):
        for form in ("TSV", "CSV", "Protobuf", "CapnProto", "Template", "RawBLOB", "Native", "Parquet"):
            for name in ("ext", "../../x", "system.one", targets.private, "_data", "query", str(targets.evil)):
                key = name.replace("/", "_")
                parameters = {"query": "SELECT * FROM ext", f"{key}_structure": structure, f"{key}_format": form}
                yield Attack(multipart(name, str(targets.evil), "x"), Must.BE_HARMLESS, parameters, headers)
    for name in ("query", "readonly", "user", "max_execution_time", "param_x", "session_id"):
        yield Attack(multipart(name, "f", f"DROP TABLE {targets.ours}"), Must.BE_HARMLESS, {}, headers)
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        yield Attack(f"{name}=DROP+TABLE+{targets.ours}&user=sluiceway&readonly=0", Must.BE_REFUSED, {}, form)


def hosts(port: int) -> Iterator[Attack]:
    """Names under which a page of another origin could reach us once its name was bound to 127.0.0.1, and origins."""
    for host in (
        "evil.example", f"evil.example:{port}", "127.0.0.1.evil.example", f"localhost.evil.example:{port}", "evil.localhost.example", "0.0.0.0", "10.0.0.1", "[fe80::1]", "localhost@evil.example", "127.0.0.1:80@evil.example",
        f"127.0.0.1#evil.example:{port}", "evil.example/127.0.0.1", "127.0.0.1 evil.example", "127.0.0.1,evil.example", "evil.example,127.0.0.1", "xn--localhost-.example", "local\u212aost", "127.1.evil", "2130706433.example",
    ):  # fmt: skip
        yield Attack("SELECT 1", headers={"Host": host.encode("ascii", "ignore").decode()})
    for origin in (
        "null",
        "http://evil.example",
        "https://evil.example",
        f"http://127.0.0.1:{port + 1}",
        f"http://localhost:{port + 1}",
        "file://",
        "chrome-extension://x",
        f"https://127.0.0.1:{port}",
        "http://127.0.0.1",
        "x",
        "http://[::1]",
    ):
        for method, statement in (("POST", "SELECT 1"), ("OPTIONS", "")):
            yield Attack(statement, headers={"Origin": origin, "Access-Control-Request-Method": "POST"}, method=method)
        yield Attack("", parameters={"query": "SELECT 1"}, headers={"Origin": origin}, method="GET")
    for site in ("cross-site", "same-site"):
        for mode in ("navigate", "no-cors", "cors", "websocket", "nested-navigate"):
            for method in ("GET", "POST"):
                yield Attack(
                    "" if method == "GET" else "SELECT 1",
                    parameters={"query": "SELECT 1"} if method == "GET" else {},
                    headers={"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": "empty"},
                    method=method,
                )
    yield Attack(
        "",
        parameters={"query": "SELECT 1"},
        headers={
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": "x",
            "Sec-WebSocket-Version": "13",
            "Origin": "http://evil.example",
        },
        method="GET",
    )


def smuggled(port: int, secret_user: str) -> dict[str, bytes]:
    """Requests that two readers of HTTP may understand in two ways, by what they are.

    Those with a second request in their body hide one that the port must refuse (a foreign host), and which would be
    answered 'smuggled-inner'. The others ask who they are, and must not be told another than the one who reads.
    """
    hidden = WHO.encode()
    inside = b"SELECT concat('smuggled', '-inner')"
    inner = b"POST / HTTP/1.1\r\nHost: evil.example\r\nContent-Length: %d\r\n\r\n" % len(inside) + inside
    host = f"Host: 127.0.0.1:{port}\r\n".encode()
    size = b"Content-Length: %d\r\n"
    chunked = b"Transfer-Encoding: chunked\r\n"
    query = b"SELECT 1"
    end = b"0\r\n\r\n"
    default, other = basic("default").encode(), basic(secret_user).encode()

    def post(*head: bytes, body: bytes = query, line: bytes = b"POST / HTTP/1.1") -> bytes:
        return line + b"\r\n" + b"".join(head) + b"\r\n" + body

    cut = b"".join((b"8\r\nSELECT 1\r\n", end))
    return {
        "length and chunked": post(host, size % len(cut), chunked, body=cut + inner),
        "chunked and length": post(host, chunked, size % 4, body=cut + inner),
        "two lengths": post(host, size % 8, size % (8 + len(inner)), body=query + inner),
        "lengths in a list": post(host, b"Content-Length: 8, %d\r\n" % (8 + len(inner)), body=query + inner),
        "signed length": post(host, b"Content-Length: +8\r\n", body=query + inner),
        "negative length": post(host, b"Content-Length: -1\r\n", body=query + inner),
        "length in hex": post(host, b"Content-Length: 0x8\r\n", body=query + inner),
        "length with a space before its colon": post(host, b"Content-Length : %d\r\n" % 8, body=query + inner),
        "chunked with a tab": post(host, b"Transfer-Encoding:\tchunked\r\n", size % 8, body=cut + inner),
        "chunked behind identity": post(host, b"Transfer-Encoding: identity, chunked\r\n", body=cut + inner),
        "chunked twice": post(host, chunked, chunked, body=cut + inner),
        "chunked in another case": post(host, b"Transfer-Encoding: cHuNkEd\r\n", size % 8, body=cut + inner),
        "chunked not last": post(host, b"Transfer-Encoding: chunked, identity\r\n", size % 8, body=cut + inner),
        "chunked misspelt": post(host, b"Transfer-Encoding: xchunked\r\n", size % 8, body=query + inner),
        "chunked with vertical tab": post(host, b"Transfer-Encoding: \x0bchunked\r\n", size % 8, body=query + inner),
        "chunk extension": post(host, chunked, body=b'8;a="\r\n' + b"SELECT 1\r\n" + end + inner),
        "chunk size with sign": post(host, chunked, body=b"+8\r\nSELECT 1\r\n" + end + inner),
        "chunk size too large": post(host, chunked, body=b"fffffffffffffffff\r\nSELECT 1\r\n" + end + inner),
        "chunk ended by line feeds": post(host, chunked, body=b"8\nSELECT 1\n0\n\n" + inner),
        "trailers": post(host, chunked, body=b"8\r\nSELECT 1\r\n0\r\nAuthorization: " + other + b"\r\n\r\n" + inner),
        "body of a GET": b"GET /?query=SELECT+1 HTTP/1.1\r\n" + host + size % len(inner) + b"\r\n" + inner,
        "two authorizations": post(host, b"Authorization: " + default + b"\r\n", b"Authorization: " + other + b"\r\n", size % len(hidden), body=hidden),
        "two authorizations, other order": post(host, b"Authorization: " + other + b"\r\n", b"Authorization: " + default + b"\r\n", size % len(hidden), body=hidden),
        "two users": post(host, b"X-ClickHouse-User: default\r\n", b"X-ClickHouse-User: " + secret_user.encode() + b"\r\n", size % len(hidden), body=hidden),
        "user with an underscore": post(host, b"X_ClickHouse_User: " + secret_user.encode() + b"\r\n", size % len(hidden), body=hidden),
        "user on a folded line": post(host, b"X-Other: a\r\n X-ClickHouse-User: " + secret_user.encode() + b"\r\n", size % len(hidden), body=hidden),
        "folded authorization": post(host, b"Authorization:\r\n " + other + b"\r\n", size % len(hidden), body=hidden),
        "null in a header": post(host, b"X-A: a\0\r\nX-ClickHouse-User: " + secret_user.encode() + b"\r\n", size % len(hidden), body=hidden),
        "bare carriage return": post(host, b"X-A: a\rX-ClickHouse-User: " + secret_user.encode() + b"\r\n", size % len(hidden), body=hidden),
        "bare line feeds": post(host, size % len(hidden), body=hidden).replace(b"\r\n", b"\n"),
        "two hosts": post(host, b"Host: evil.example\r\n", size % len(hidden), body=hidden),
        "no host": post(size % len(hidden), body=hidden),
        "empty host": post(b"Host:\r\n", size % len(hidden), body=hidden),
        "absolute form, another host": post(host, size % len(hidden), body=hidden, line=b"POST http://evil.example/ HTTP/1.1"),
        "absolute form with user": post(host, size % len(hidden), body=hidden, line=b"POST http://" + secret_user.encode() + b"@127.0.0.1/ HTTP/1.1"),
        "authority form": post(host, body=b"", line=b"CONNECT 127.0.0.1:1 HTTP/1.1"),
        "asterisk form": post(host, body=b"", line=b"OPTIONS * HTTP/1.1"),
        "HTTP/0.9": b"GET /?query=" + hidden.replace(b" ", b"+") + b"\r\n\r\n",
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + inner,
        "upgrade to h2c": post(host, b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n", size % len(hidden), body=hidden),
        "HTTP/1.2": post(host, size % len(hidden), body=hidden, line=b"POST / HTTP/1.2"),
        "HTTP/9.9": post(host, size % len(hidden), body=hidden, line=b"POST / HTTP/9.9"),
        "space in the line": post(host, size % len(hidden), body=hidden, line=b"POST /?user=" + secret_user.encode() + b" x HTTP/1.1"),
        "line break in the target": post(host, size % len(hidden), body=hidden, line=b"POST /?a=\rb HTTP/1.1"),
        "a head of 200 KB": post(host, b"X-A: " + b"a" * 200_000 + b"\r\n", size % len(hidden), body=hidden),
        "5,000 headers": post(host, *(b"X-%d: a\r\n" % number for number in range(5000)), size % len(hidden), body=hidden),
        "a target of 200 KB": post(host, size % 8, line=b"POST /?param_a=" + b"a" * 200_000 + b" HTTP/1.1"),
        "expect something": post(host, b"Expect: 200-ok\r\n", size % len(hidden), body=hidden),
        "connection names the user's header": post(host, b"Connection: X-ClickHouse-User, Authorization\r\n", size % len(hidden), body=hidden),
        "less than its length": post(host, size % 1000, body=b"DROP TABLE otel.reader_sees"),
        "nothing at all": b"\r\n\r\n",
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500,
        "the native protocol": b"\x00\x0aClickHouse\x18\x0c\xb2\xa9\x03\x04otel\x07default\x00",
        "a PROXY line": b"PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n" + post(host, size % len(hidden), body=hidden),
        "random bytes": bytes(range(256)) * 40,
    }  # fmt: skip

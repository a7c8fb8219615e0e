"""Other people's clients read what is stored, as they come: no user named, none of our settings, their own deadlines."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client

from tests.reader.attacked_store import ROWS, TABLE, AttackedStore
from tests.real_parts import skip_where_missing
from tests.testbed import clickhouse_clients

# Grafana's plugin gives a query 60 s by default; clickhouse-go asks the server for five more.
DEADLINE = "60s"
_TIMEOUT_S = 60


def run(command: list[str | Path]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("protocol", "compression"),
    [
        ("http", "none"),
        ("http", "lz4"),
        ("http", "zstd"),
        ("http", "gzip"),  # the plugin's, over HTTP
        ("http", "deflate"),
        ("http", "br"),
        ("native", "none"),
        ("native", "lz4"),  # the plugin's
        ("native", "lz4hc"),
        ("native", "zstd"),
    ],
)
@pytest.mark.parametrize("build", [clickhouse_clients.go_reader, clickhouse_clients.oldest_go_reader])
def test_clickhouse_go_reads_with_a_deadline_of_a_minute(
    attacked_store: AttackedStore, build: Callable[[], Path], protocol: str, compression: str
) -> None:
    with skip_where_missing():
        reader = build()
    port = attacked_store.http_port if protocol == "http" else attacked_store.native_port
    address = f"127.0.0.1:{port}"
    answer = json.loads(run([reader, address, protocol, compression, DEADLINE, attacked_store.store.database, TABLE]))
    assert answer["Rows"] == [
        {
            "ID": number,
            "At": datetime.fromtimestamp(seconds, UTC).strftime(f"%Y-%m-%dT%H:%M:%S.{nanoseconds:09}Z"),
            "Service": service,
            "Attributes": attributes,
            "Durations": durations,
        }
        for number, seconds, nanoseconds, service, attributes, durations in ROWS
    ]
    assert TABLE in answer["Tables"]
    assert answer["User"] not in ("", attacked_store.store.writer_user)


@pytest.mark.parametrize(
    "properties",
    [
        (),
        ("user=default", "password="),
        ("compress=false",),
        ("client.use_http_compression=true",),
        ("clickhouse_setting_session_timezone=UTC",),
    ],
    ids=lambda properties: ",".join(properties) or "as it comes",
)
def test_the_jdbc_driver_reads(attacked_store: AttackedStore, properties: tuple[str, ...]) -> None:
    with skip_where_missing():
        command = clickhouse_clients.jdbc_command()
    printed = run([*command, attacked_store.url, attacked_store.store.database, TABLE, *properties])
    lines = [line.split("\t") for line in printed.splitlines()]

    def values(kind: str) -> list[str]:
        return ["\t".join(line[1:]) for line in lines if line[0] == kind]

    assert values("row") == [
        f"{number}\t{seconds}\t{nanoseconds}\t{service}\t{as_java(attributes)}\t{durations}"
        for number, seconds, nanoseconds, service, attributes, durations in ROWS
    ]
    assert TABLE in values("table")
    assert values("column") == ["Id", "At", "Service", "Attributes", "Durations"]
    assert attacked_store.store.database in values("schema")
    assert (values("types"), values("functions"), values("columns")) == (["true"], ["true"], ["5"])
    assert values("user") != [attacked_store.store.writer_user]


def as_java(attributes: dict[str, str]) -> str:
    """As java.util.Map prints itself. Values may hold tabs, line ends they may not."""
    return "{" + ", ".join(f"{name}={value}" for name, value in sorted(attributes.items())) + "}"


@pytest.mark.parametrize("compress", [True, False, "lz4", "zstd", "gzip", "deflate"])
@pytest.mark.parametrize("named", [{}, {"username": "default", "database": "otel"}], ids=["nobody", "default"])
def test_clickhouse_connect_reads(attacked_store: AttackedStore, compress: bool | str, named: dict[str, str]) -> None:
    client = clickhouse_connect.get_client(
        host="127.0.0.1", port=attacked_store.http_port, compress=compress, **named
    )  # fmt: skip
    try:
        assert rows_of(client, attacked_store.table) == ROWS
        assert TABLE in client.query("SHOW TABLES FROM otel").result_columns[0]
        assert "Durations" in client.query(f"DESCRIBE TABLE {attacked_store.table}").result_columns[0]
        bound = client.query("SELECT getSetting('max_execution_time')", settings={"max_execution_time": 5})
        assert bound.result_rows == [(5,)]
        assert client.query("SELECT {text:String}", parameters={"text": "a'b"}).result_rows == [("a'b",)]
        assert client.query_arrow(f"SELECT Id FROM {attacked_store.table} ORDER BY Id").column(0).to_pylist() == [
            0,
            1,
            2,
        ]
        assert client.ping()
    finally:
        client.close()


def rows_of(client: Client, table: str) -> list[tuple[object, ...]]:
    selected = "Id, toUnixTimestamp64Nano(At) AS Nanoseconds, Service, Attributes, Durations"
    return [
        (number, *divmod(nanoseconds, 10**9), service, attributes, list(durations))
        for number, nanoseconds, service, attributes, durations in client.query(
            f"SELECT {selected} FROM {table} ORDER BY Id"
        ).result_rows
    ]


def test_what_one_client_sets_is_not_the_other_s(attacked_store: AttackedStore) -> None:
    clients = [clickhouse_connect.get_client(host="127.0.0.1", port=attacked_store.http_port) for _ in range(2)]
    shared = {"session_id": "shared"}
    try:
        for client in clients:
            client.command("SET max_block_size = 7", settings=shared)
        assert clients[1].query("SELECT getSetting('max_block_size')", settings=shared).result_rows != [(7,)]
    finally:
        for client in clients:
            client.close()


def test_curl_reads(attacked_store: AttackedStore) -> None:
    curl = shutil.which("curl")
    assert curl is not None
    url, count = f"{attacked_store.url}/", f"SELECT count() FROM {attacked_store.table}"
    for words in (
        ["--data-binary", count, url],
        ["--get", "--data-urlencode", f"query={count}", url],
        ["-u", "default:", "--data-binary", count, url],
        ["--compressed", "--data-binary", count, url],
        ["-H", "Transfer-Encoding: chunked", "--data-binary", count, url],
        ["--http1.0", "--data-binary", count, url],
        ["--get", "-d", "param_least=0", "-d", "database=otel", "-d", "max_execution_time=65", "--data-urlencode",
         f"query=SELECT count() FROM {TABLE} WHERE Id >= {{least:UInt64}}", url],
        ["--data-binary", count, f"http://localhost:{attacked_store.http_port}/"],
        ["-X", "POST", "--data-binary", f"FROM {attacked_store.table}", f"{url}?query=SELECT+count()"],
    ):  # fmt: skip
        assert run([curl, "-sS", *words]) == f"{len(ROWS)}\n", words
    assert run([curl, "-sS", f"{url}ping"]) == "Ok.\n"
    json_answer = run([curl, "-sS", f"{url}?default_format=JSON", "--data-binary", count])
    assert json.loads(json_answer)["data"] == [{"count()": str(len(ROWS))}] or json.loads(json_answer)["rows"] == 1

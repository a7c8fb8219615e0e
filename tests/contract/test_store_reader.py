"""What whoever names no user may do with the store, and what gate and engine refuse."""

from __future__ import annotations

import shutil
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

import clickhouse_connect
import pytest
from clickhouse_connect.driver.client import Client
from clickhouse_connect.driver.exceptions import DatabaseError

from processors.store_client import connect
from sluiceway.embedded import limits
from sluiceway.embedded.confine import landlock_version
from sluiceway.embedded.store import EmbeddedStore

TIMEOUT_EXCEEDED, READONLY, MEMORY_LIMIT_EXCEEDED, QUERY_IS_PROHIBITED = 159, 164, 241, 392
SETTING_CONSTRAINT_VIOLATION, ACCESS_DENIED = 452, 497

needs_landlock = pytest.mark.skipif(landlock_version() == 0, reason="this kernel has no Landlock")


@pytest.fixture(scope="module")
def writer(store: EmbeddedStore) -> Iterator[Client]:
    client = connect(store.url, user=store.writer_user, password=store.writer_password, database=store.database)
    client.command("CREATE TABLE reader_sees (Number UInt64, Text String) ENGINE = MergeTree ORDER BY Number")
    client.command("INSERT INTO reader_sees SELECT number, toString(number) FROM numbers(1000)")
    yield client
    client.command("DROP TABLE reader_sees SYNC")
    client.close()


@pytest.fixture(scope="module")
def reader(store: EmbeddedStore, writer: Client) -> Iterator[Client]:
    client = connect(store.url, database=store.database)
    yield client
    client.close()


def refusal(client: Client, statement: str, **settings: object) -> int | None:
    with pytest.raises(DatabaseError) as refused:
        client.command(statement, settings=settings or None)
    return refused.value.code


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO otel.reader_sees VALUES (1, 'x')",
        "CREATE TABLE otel.made_by_reader (a Int8) ENGINE = Memory",
        "CREATE TEMPORARY TABLE made_by_reader (a Int8)",
        "CREATE DATABASE made_by_reader",
        "CREATE FUNCTION made_by_reader AS (x) -> x",
        "CREATE USER made_by_reader",
        "DROP TABLE otel.reader_sees",
        "TRUNCATE TABLE otel.reader_sees",
        "OPTIMIZE TABLE otel.reader_sees FINAL",
        "ALTER TABLE otel.reader_sees DELETE WHERE 1",
        "ALTER TABLE otel.reader_sees ADD COLUMN c Int8",
        "RENAME TABLE otel.reader_sees TO otel.taken",
        "BACKUP DATABASE otel TO File('taken')",
        "GRANT SELECT ON *.* TO default",
        "KILL QUERY WHERE user = 'sluiceway'",
        "SELECT * FROM file('/etc/passwd', 'LineAsString')",
        "DESCRIBE TABLE file('/etc/passwd')",
        "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
        "SELECT * FROM s3('http://127.0.0.1:1/bucket/key', 'CSV')",
        "SELECT * FROM remote('127.0.0.1:1', system.one)",
        "SELECT * FROM mysql('127.0.0.1:1', 'd', 't', 'u', 'p')",
        "SELECT * FROM postgresql('127.0.0.1:1', 'd', 't', 'u', 'p')",
        "SELECT * FROM executable('id', 'LineAsString', 'line String')",
        "SELECT * FROM system.users",
        "SELECT * FROM view(SELECT * FROM system.users)",
        "SELECT * FROM system.processes",
        "SELECT * FROM system.server_settings",
        "SELECT * FROM entry.pipe",
        "SYSTEM SHUTDOWN",
        "SYSTEM KILL",
        "SYSTEM STOP MERGES otel.reader_sees",
        "SYSTEM DROP MARK CACHE",
        "SYSTEM RELOAD USERS",
    ],
)
def test_the_reader_is_refused(reader: Client, statement: str) -> None:
    assert refusal(reader, statement) == ACCESS_DENIED


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_execution_time", 126),
        ("max_execution_time", 0),
        ("max_memory_usage", 10**12),
        ("max_memory_usage", 0),
        ("max_memory_usage_for_user", 0),
        ("max_threads", 64),
        ("max_concurrent_queries_for_user", 0),
        ("max_result_rows", 0),
        ("max_temporary_data_on_disk_size_for_user", 0),
        ("max_untracked_memory", 10**9),
        ("memory_overcommit_ratio_denominator", 10**12),
        ("use_query_cache", 1),
        ("allow_introspection_functions", 1),
    ],
)
def test_the_reader_cannot_lift_a_limit(store: EmbeddedStore, reader: Client, name: str, value: int) -> None:
    # Over a bound, or not to be changed at all.
    refused = {SETTING_CONSTRAINT_VIOLATION, READONLY, ACCESS_DENIED}
    assert refusal(reader, f"SELECT 1 SETTINGS {name} = {value}") in refused
    assert refusal(reader, f"SET {name} = {value}") in refused
    # As a parameter of the URL, which is how curl and Grafana set them.
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(f"{store.url}/?{name}={value}&query=SELECT+1", timeout=10)
    assert int(error.value.headers["X-ClickHouse-Exception-Code"]) in refused
    error.value.close()


def test_the_reader_can_lower_its_limits(reader: Client) -> None:
    lowered = reader.query(
        "SELECT getSetting('max_execution_time'), getSetting('max_memory_usage'), getSetting('max_threads')",
        settings={"max_execution_time": 5, "max_memory_usage": 64 * 1024 * 1024, "max_threads": 1},
    )
    assert [int(value) for value in lowered.result_rows[0]] == [5, 64 * 1024 * 1024, 1]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("readonly", 0, READONLY),
        ("format_schema", "'x'", ACCESS_DENIED),
        ("dialect", "'kusto'", ACCESS_DENIED),
        ("allow_ddl", 1, QUERY_IS_PROHIBITED),
        ("allow_python_table_function", 1, QUERY_IS_PROHIBITED),
    ],
)
def test_the_reader_changes_no_setting_but_the_named(reader: Client, name: str, value: object, code: int) -> None:
    assert refusal(reader, f"SET {name} = {value}") == code


def test_the_reader_may_say_what_it_is_anyway(reader: Client) -> None:
    assert reader.query("SELECT 1 SETTINGS readonly = 1, use_query_cache = 0").result_rows == [(1,)]


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT file('/etc/passwd')",
        "SELECT file('{secret}')",
        "SELECT file('/proc/1/environ')",
        "SELECT file('users.xml')",
        "SELECT 1 INTO OUTFILE 'taken.txt'",
        "SELECT * FROM Python(anything)",
        "SELECT * FROM sqlite('{secret}', 't')",
        "INSERT INTO entry.pipe FROM INFILE '/dev/stdin' FORMAT LineAsString",
        "SYSTEM STOP LISTEN HTTP",
    ],
)
def test_no_statement_that_touches_a_file_reaches_the_engine(
    store: EmbeddedStore, reader: Client, statement: str
) -> None:
    with pytest.raises(DatabaseError) as refused:
        reader.raw_query(statement.format(secret=store.folder / "writer.secret"))
    assert refused.value.code == ACCESS_DENIED
    # Ours, not the engine's, which would have acted already.
    assert "(version" not in str(refused.value)


@needs_landlock
def test_the_server_connects_to_no_other_server_even_for_the_writer(store: EmbeddedStore, writer: Client) -> None:
    with pytest.raises(DatabaseError, match="Permission denied"):
        writer.command(f"SELECT * FROM url('{store.url}/ping', 'LineAsString')", settings={"http_max_tries": 1})


def test_the_reader_sees_our_tables_through_clickhouse_connect(store: EmbeddedStore, reader: Client) -> None:
    assert reader.query("SELECT count(), max(Number) FROM reader_sees").result_rows == [(1000, 999)]
    assert "reader_sees" in reader.query("SHOW TABLES FROM otel").result_columns[0]
    host, port = store.url.removeprefix("http://").split(":")
    plain = clickhouse_connect.get_client(host=host, port=int(port))
    try:
        assert plain.query("SELECT currentUser()").result_rows == [("reader",)]
    finally:
        plain.close()


def test_the_reader_sees_our_tables_through_curl(store: EmbeddedStore, reader: Client) -> None:
    curl = shutil.which("curl")
    assert curl is not None
    query = ["--data-binary", "SELECT count() FROM otel.reader_sees"]
    answer = subprocess.run([curl, "-sS", f"{store.url}/", *query], capture_output=True, text=True, check=True)
    assert (answer.stdout, answer.stderr) == ("1000\n", "")


def test_a_client_with_a_wrong_password_is_refused(store: EmbeddedStore) -> None:
    query = urllib.parse.urlencode({"user": store.writer_user, "password": "guess", "query": "SELECT 1"})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"{store.url}/?{query}", timeout=10)
    assert refused.value.code == 403
    refused.value.close()


def test_a_query_over_its_memory_or_time_is_stopped_by_clickhouse(reader: Client) -> None:
    assert refusal(reader, "SELECT length(groupArray(number)) FROM numbers(200000000)") == MEMORY_LIMIT_EXCEEDED
    endless = "SELECT sum(sipHash64(number)) FROM numbers(1000000000000)"
    assert refusal(reader, endless, max_execution_time=1) == TIMEOUT_EXCEEDED


def test_inserts_go_on_while_heavy_queries_are_stopped(store: EmbeddedStore, writer: Client) -> None:
    codes: list[int | None] = []

    def ask_too_much() -> None:
        client = connect(store.url, database=store.database)
        try:
            client.command("SELECT uniqExact(cityHash64(number)) FROM numbers(400000000)")
        except DatabaseError as error:
            codes.append(error.code)
        finally:
            client.close()

    readers = [threading.Thread(target=ask_too_much) for _ in range(4)]
    for thread in readers:
        thread.start()
    inserted = 0
    while any(thread.is_alive() for thread in readers):
        writer.command("INSERT INTO reader_sees SELECT 1000 + number, 'more' FROM numbers(1000)")
        inserted += 1000
    for thread in readers:
        thread.join()
    assert codes == [MEMORY_LIMIT_EXCEEDED] * 4
    assert inserted > 0
    assert writer.query("SELECT countIf(Text = 'more') FROM reader_sees").result_rows == [(inserted,)]


def test_the_engine_itself_holds_every_setting_but_the_named(reader: Client) -> None:
    free = {row[0] for row in reader.query("SELECT name FROM system.settings WHERE readonly = 0").result_rows}
    assert free == {*limits.CHANGEABLE, *limits.LOWERED, *limits.UNHELD}

"""The grants that docs/store.md tells an operator to give are enough for everything that we do."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import sluiceway.embedded.store
from processors import schema, schema_lease
from processors.store_client import connect
from schemas.errors import StoreUnavailableError
from schemas.settings import RetentionSettings, StoreSettings
from sluiceway.embedded.store import EmbeddedStore
from sluiceway.embedded.users import users_xml
from sluiceway.store_access import StoreAccess
from tests.conftest import free_port

DOCS = Path(__file__).resolve().parents[2] / "docs" / "store.md"
CHANGEABLE = "<constraints><max_execution_time><changeable_in_readonly/></max_execution_time></constraints>"
PROFILES = {
    "free": "",
    "limited": "<readonly>2</readonly>",
    "listed": f"<readonly>1</readonly>{CHANGEABLE}",
    "rigid": "<readonly>1</readonly>",
}
READERS = {f"{name}_reader": name for name in PROFILES}


def documented() -> dict[str, list[str]]:
    """The GRANT statements of the docs by user, for a database of another name."""
    grants = defaultdict(list)
    for rights, users in re.findall(r"^ +(GRANT .+) TO (.+);$", DOCS.read_text(), re.MULTILINE):
        for user in users.split(", "):
            for right in re.split(r"(?<=\w), (?=TABLE ENGINE)", rights.removeprefix("GRANT ")):
                grants[user].append(f"GRANT {right}".replace("otel.", "given."))
    return grants


def with_users(
    settings: StoreSettings, writer_secret: str, passwords: Mapping[str, str], *, entry_statements: int
) -> str:
    """The users of the embedded store, and those of the docs with the password `pw`."""
    granted = documented()
    users = {"given_writer": ("free", granted["sluiceway"])}
    users |= {name: (profile, granted["reader"]) for name, profile in READERS.items()}
    profiles = "".join(f"<{name}>{text}</{name}>" for name, text in PROFILES.items())
    made = "".join(
        f"<{name}><password>pw</password><networks><ip>::/0</ip></networks><profile>{profile}</profile>"
        f"<quota>default</quota><grants>{''.join(f'<query>{grant}</query>' for grant in grants)}</grants></{name}>"
        for name, (profile, grants) in users.items()
    )
    text = users_xml(settings, writer_secret, passwords, entry_statements=entry_statements)
    return text.replace("</profiles>", f"{profiles}</profiles>").replace("</users>", f"{made}</users>")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that has these users, with the schema applied by the one who writes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sluiceway.embedded.store, "users_xml", with_users)
        with EmbeddedStore(tmp_path_factory.mktemp("grants"), StoreSettings(http_port=free_port())) as store:
            client = connect(store.url, user="given_writer", password="pw", database=None)
            schema_lease.apply_alone(client, "given", RetentionSettings())
            client.close()
            yield store.url


@pytest.fixture
def access(url: str, tmp_path: Path, request: pytest.FixtureRequest) -> StoreAccess:
    """As the writer, and as the reader that a test names."""
    secret = tmp_path / "secret"
    secret.write_text("pw")
    settings = StoreSettings(
        url=url, user="given_writer", password_file=secret, database="given",
        reader_user=getattr(request, "param", "free_reader"), reader_password_file=secret,
    )  # fmt: skip
    return StoreAccess(settings, Path("/nowhere"))


def test_the_writer_may_change_whatever_a_release_may_change(access: StoreAccess) -> None:
    with access.writer() as client:
        client.command("ALTER TABLE given.otel_logs DROP COLUMN LogFlags")
        client.command("ALTER TABLE given.ledger MODIFY SETTING non_replicated_deduplication_window = 5")
        client.command("ALTER TABLE given.logs_1m_mv MODIFY COMMENT 'another'")
        client.command("CREATE OR REPLACE VIEW given.otel_metrics_exp_histogram AS SELECT 1 COMMENT 'another'")
        assert len(schema_lease.apply_alone(client, "given", RetentionSettings(logs_days=11))) >= 6
        assert schema.plan(client, "given", RetentionSettings(logs_days=11)) == []


def test_the_writer_may_insert(access: StoreAccess) -> None:
    inserter = access.inserter()
    inserter.rows("otel_logs", [{"Timestamp": "2099-01-01 00:00:00", "Body": "x"}], "token")
    inserter.rows("otel_logs", [{"Timestamp": "2099-01-01 00:00:00", "Body": "x"}], "token")
    inserter.close()
    with access.reader() as client:
        assert client.query("SELECT sum(Records) FROM logs_1m").result_rows == [(1,)]


@pytest.mark.parametrize("access", ["free_reader", "limited_reader"], indirect=True)
def test_a_reader_may_ask_and_bound_a_question(access: StoreAccess) -> None:
    with access.reader() as client:
        answer = client.query("SELECT count() >= 0, getSetting('readonly') FROM spans_1m", settings={"max_threads": 1})
        assert answer.result_rows == [(1, 2)]
        assert client.query("SELECT count() FROM system.databases WHERE name = 'given'").result_rows == [(1,)]


@pytest.mark.parametrize("access", ["listed_reader"], indirect=True)
def test_a_reader_may_be_held_to_a_list_of_settings(access: StoreAccess) -> None:
    with access.reader() as client:
        answer = client.query("SELECT getSetting('readonly') FROM numbers(1)", settings={"max_execution_time": 7})
        assert answer.result_rows == [(1,)]


@pytest.mark.parametrize("access", ["rigid_reader"], indirect=True)
def test_a_reader_that_may_set_nothing_is_refused_in_words(access: StoreAccess) -> None:
    with pytest.raises(StoreUnavailableError, match="rigid_reader has readonly = 1 and may not set"), access.reader():
        pass


@pytest.mark.parametrize("statement", ["DROP TABLE given.otel_logs", "TRUNCATE TABLE given.otel_logs", "CREATE USER u"])
def test_the_writer_may_not_destroy(access: StoreAccess, statement: str) -> None:
    with pytest.raises(StoreUnavailableError, match="ACCESS_DENIED"), access.writer() as client:
        client.command(statement)

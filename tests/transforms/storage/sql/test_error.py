"""Every failure is one SqlSinkError with the url, the table and the reason in it, and no secret."""

import builtins
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from tests.servers import POSTGRES_PASSWORD
from transforms.storage import sql
from transforms.storage.sql import SqlTable

from .conftest import Sink, message_of

TABLE = SqlTable(name="t", key=("k",), schema=pa.schema([("k", pa.string()), ("n", pa.int64())]))
ROWS = [pa.RecordBatch.from_pylist([{"k": "payload", "n": 1}], TABLE.schema)]

VERBS: list[Callable[[str], object]] = [
    sql.check,
    lambda url: sql.publish(url, {TABLE: ROWS}, replace=True),
    lambda url: sql.read(url, TABLE),
]
for_all_verbs = pytest.mark.parametrize("verb", VERBS, ids=["check", "publish", "read"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@for_all_verbs
def test_a_server_that_is_not_there(verb: Callable[[str], object]) -> None:
    port = free_port()
    message = message_of(lambda: verb(f"postgresql://app:geheim@127.0.0.1:{port}/db"))
    assert message.startswith(f"postgresql+psycopg://app:***@127.0.0.1:{port}/db: ")
    assert "Connection refused" in message
    assert "geheim" not in message


@for_all_verbs
def test_a_server_that_never_answers_is_given_up(verb: Callable[[str], object]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        url = f"postgresql://app:geheim@127.0.0.1:{silent.getsockname()[1]}/db?connect_timeout=2"
        assert "timeout" in message_of(lambda: verb(url))
        assert time.monotonic() - begun < 5


@for_all_verbs
def test_a_wrong_password_is_not_repeated(verb: Callable[[str], object], postgresql_url: str) -> None:
    parts = sa.make_url(postgresql_url)
    wrong = parts.set(password="geheim/%@x").render_as_string(hide_password=False)
    message = message_of(lambda: verb(wrong))
    assert 'password authentication failed for user "app"' in message
    assert "geheim" not in message
    assert POSTGRES_PASSWORD not in message


@for_all_verbs
def test_a_database_that_is_not_there(verb: Callable[[str], object], cluster: str) -> None:
    assert 'database "nowhere" does not exist' in message_of(lambda: verb(cluster.replace("/postgres", "/nowhere")))


@for_all_verbs
@pytest.mark.parametrize(
    "url",
    [
        "geheim",
        "postgresql://app:gehe@im@host/db",
        "postgresql://app:gehe@im:x@host/db",
        "postgresql://app:gehe@im/x@host/db",
        "postgresql://app:geheim@host:port/db",
        "",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(verb: Callable[[str], object], url: str) -> None:
    message = message_of(lambda: verb(url))
    assert "percent-encoded" in message
    assert not any(part in message for part in ("gehe", "im:", "im/", "im@"))


@for_all_verbs
def test_secrets_among_the_options_are_not_shown(verb: Callable[[str], object]) -> None:
    url = f"postgresql://127.0.0.1:{free_port()}/db?user=app&password=geheim&sslpassword=stumm&bogus_token=leise"
    message = message_of(lambda: verb(url))
    assert not any(secret in message for secret in ("geheim", "stumm", "leise"))


@for_all_verbs
def test_an_option_that_the_driver_cannot_read(verb: Callable[[str], object], tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    sql.publish(url, {TABLE: ROWS}, replace=True)
    assert message_of(lambda: verb(f"{url}?timeout=soon")).startswith(f"{url}: an option of the url is wrong: ")


@for_all_verbs
def test_an_option_that_the_driver_does_not_know(
    verb: Callable[[str], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/x.db"
    sql.publish(url, {TABLE: ROWS}, replace=True)
    # SQLAlchemy keeps unknown options from sqlite3; drivers like PyMySQL get them.
    monkeypatch.setattr("transforms.storage.sql.database.patience", lambda url, patience: {"bogus": 1})
    message = message_of(lambda: verb(url))
    assert "an option of the url is wrong: 'bogus' is an invalid keyword argument" in message


@for_all_verbs
def test_an_asyncio_driver_is_refused(verb: Callable[[str], object]) -> None:
    message = message_of(lambda: verb("postgresql+psycopg_async://host/db"))
    assert message.endswith("psycopg_async is an asyncio driver; name one of the others")


@for_all_verbs
def test_a_database_that_is_not_tested_is_refused_by_name(verb: Callable[[str], object]) -> None:
    for name in ("nosuchbase", "mysql+pymysql", "oracle", "mssql+pyodbc"):
        message = message_of(lambda url=f"{name}://app:geheim@host/db": verb(url))  # type: ignore[misc]
        assert message.startswith(f"{name}://app:***@host/db: {name.split('+')[0]} is not supported")


@for_all_verbs
def test_a_driver_that_sqlalchemy_does_not_know(verb: Callable[[str], object]) -> None:
    message = message_of(lambda: verb("postgresql+nosuch://app:geheim@host/db"))
    assert message.endswith("no SQLAlchemy dialect 'postgresql+nosuch' is installed")


@pytest.mark.parametrize(
    ("module", "url", "install"),
    [
        ("psycopg", "postgresql://host/db", "pip install 'streamgauge[postgres]'"),
        ("pg8000", "postgresql+pg8000://host/db", "pip install 'pg8000'"),
    ],
)
@for_all_verbs
def test_a_missing_driver_says_what_to_install(
    verb: Callable[[str], object], module: str, url: str, install: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(module, monkeypatch)
    assert message_of(lambda: verb(url)).endswith(f"the Python package {module!r} is needed: {install}")


def test_a_missing_arrow_driver_for_sqlite_says_what_to_install(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide("adbc_driver_sqlite", monkeypatch)
    message = message_of(lambda: sql.publish(sqlite_url, {TABLE: ROWS}, replace=True))
    assert message.endswith("'adbc_driver_sqlite' is needed: pip install 'streamgauge'")


def hide(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets imports of a package fail as if it were not installed."""
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)


@for_all_verbs
def test_a_folder_in_place_of_a_sqlite_file(verb: Callable[[str], object], tmp_path: Path) -> None:
    message = message_of(lambda: verb(f"sqlite:///{tmp_path}"))
    assert message.startswith(f"sqlite:///{tmp_path}: ")
    assert "unable to open database file" in message


@for_all_verbs
def test_a_file_that_is_no_database(verb: Callable[[str], object], tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("a text of more than a hundred bytes, so that it has room for a header" * 9)
    assert "file is not a database" in message_of(lambda: verb(f"sqlite:///{tmp_path}/x.db"))
    assert (tmp_path / "x.db").read_text().startswith("a text")


@for_all_verbs
def test_a_sqlite_file_that_is_not_there_is_only_made_by_publishing(
    verb: Callable[[str], object], sqlite_url: str
) -> None:
    verb(sqlite_url)
    assert Path(sqlite_url.removeprefix("sqlite:///")).exists() == (verb is VERBS[1])


def test_no_value_of_a_record_is_in_the_message(sink: Sink) -> None:
    schema = pa.schema([pa.field("k", pa.string()), pa.field("n", pa.int64(), nullable=False)])
    table = SqlTable(name="t", key=("k",), schema=schema)
    bad = pa.record_batch([pa.array(["payload"]), pa.array([None], pa.int64())], schema=schema)
    message = message_of(lambda: sql.publish(sink.url, {table: [bad]}, replace=True))
    assert "payload" not in message


def test_times_that_sql_cannot_hold_are_refused(sink: Sink) -> None:
    type_ = pa.timestamp("us", "UTC")
    table = SqlTable(name="t", key=("k",), schema=pa.schema([("k", pa.int64()), ("at", type_)]))
    for µs in (-(2**63), 253_402_300_800_000_000):
        batch = pa.record_batch([pa.array([1]), pa.array([µs], type_)], schema=table.schema)
        message = message_of(lambda batch=batch: sql.publish(sink.url, {table: [batch]}, replace=True))  # type: ignore[misc]
        assert message.endswith(
            "table 't': column 'at' holds a time outside the years 1 to 9999, which SQL cannot hold"
        )

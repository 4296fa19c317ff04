"""From a url to a SQLAlchemy engine that waits for a bounded time."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from transforms.errors import SqlSinkError
from transforms.storage.sql.error import Refusal, translated
from transforms.storage.sql.spec import SCHEMA_PATTERN

CONNECT_PATIENCE: Final = timedelta(seconds=5)
LOCK_PATIENCE: Final = timedelta(seconds=30)
"""How long another connection may hold a lock before we give up."""

IDLE_PATIENCE: Final = timedelta(seconds=20)
"""How long PostgreSQL waits for the next statement of a transaction before it rolls the transaction back."""

TESTED: Final = {"postgresql": "PostgreSQL", "sqlite": "SQLite"}
"""Databases with our equality: in others 'k' and 'k ', or 'a' and 'A', may be one key, and one row would be lost."""

EXTRAS: Final = {"psycopg": "streamgauge[postgres]", "adbc_driver_sqlite": "streamgauge"}
"""The extra that installs a driver; other drivers are distributions of the same name."""

_SEARCH_PATH: Final = "-csearch_path="

CONNECT_TIMEOUT_OPTION: Final = {
    "psycopg": "connect_timeout",
    "psycopg2": "connect_timeout",
    "pg8000": "timeout",
}
"""Each driver's option for its connection timeout; other drivers keep their default."""


def parsed(url: str) -> sa.URL:
    """The parts of a url; `postgresql://` means psycopg.

    Raises:
        SqlSinkError: if it has no such parts. The message does not quote the url: without parts, the password in it
            cannot be found.
    """
    try:
        parts = sa.make_url(url)
        ended_early = parts.get_backend_name() != "sqlite" and "@" in f"{parts.host}{parts.database}"
    except (sa.exc.SQLAlchemyError, ValueError):
        ended_early = True
    if ended_early:
        raise SqlSinkError(
            "the url of the SQL sink cannot be read: it must look like DIALECT://USER:PASSWORD@HOST:PORT/DATABASE,"
            " with special characters of the password percent-encoded (@ is %40, / is %2F, : is %3A)"
        ) from None
    return parts.set(drivername="postgresql+psycopg") if parts.drivername == "postgresql" else parts


def in_schema(url: str, schema: str) -> str:
    """The url of a database of PostgreSQL, with a schema that holds the tables.

    Raises:
        ValueError: if the url is of another database, or already names a schema.
    """
    parts = parsed(url)
    if parts.get_backend_name() != "postgresql":
        raise ValueError(f"is of PostgreSQL, and {parts.get_backend_name()} has no schemas")
    options = parts.query.get("options", "")
    if not isinstance(options, str) or "search_path" in options.lower().replace("-", "_"):
        raise ValueError("contradicts the options of the url, which set search_path")
    joined = f"{options} {_SEARCH_PATH}{schema}".lstrip()
    return parts.update_query_dict({"options": joined}).render_as_string(hide_password=False)


def schema_of(url: sa.URL) -> str | None:
    """The only schema that a url names; None: it names none, or several."""
    found = re.search(rf"{_SEARCH_PATH}({SCHEMA_PATTERN})(?: |$)", str(url.query.get("options", "")))
    return found[1] if found else None


def open_engine(url: sa.URL, *, lock_patience: timedelta = LOCK_PATIENCE) -> sa.Engine:
    """An engine without a pool: closing a connection ends it, and everything uncommitted is gone.

    Raises:
        SqlSinkError: if the dialect or its driver is not installed.
    """
    with translated(url):
        if url.get_backend_name() not in TESTED:
            raise Refusal(
                f"{url.get_backend_name()} is not supported: this version publishes to {' and '.join(TESTED.values())},"
                " which are tested to compare keys as it does"
            )
        if url.get_backend_name() == "sqlite" and url.get_driver_name() != "pysqlite":
            raise Refusal(f"the driver {url.get_driver_name()} is not supported: write sqlite:///PATH")
        try:
            # hide_parameters: SQLAlchemy's errors would quote values of records.
            engine = sa.create_engine(
                url, poolclass=sa.NullPool, hide_parameters=True, connect_args=patience(url, lock_patience)
            )
        except ImportError as error:
            module = (error.name or "").partition(".")[0] or url.get_driver_name()
            raise missing_driver(module) from None
        except sa.exc.NoSuchModuleError:
            raise Refusal(f"no SQLAlchemy dialect {url.drivername!r} is installed") from None
        except (TypeError, ValueError) as error:
            raise Refusal(f"an option of the url is wrong: {error}") from None
        if engine.dialect.is_async:
            raise Refusal(f"{url.get_driver_name()} is an asyncio driver; name one of the others")
        sa.event.listen(engine, "do_connect", connect)
        return engine


def connect(dialect: sa.Dialect, record: object, arguments: list[Any], options: dict[str, Any]) -> Any:
    """Connects; drivers in Python answer unknown options of the url with a TypeError."""
    try:
        return dialect.connect(*arguments, **options)
    except (TypeError, ValueError) as error:
        raise Refusal(f"an option of the url is wrong: {error}") from None


def missing_driver(module: str) -> Refusal:
    """A refusal that says what to install."""
    return Refusal(f"the Python package {module!r} is needed: pip install '{EXTRAS.get(module, module)}'")


def patience(url: sa.URL, lock_patience: timedelta) -> dict[str, Any]:
    """The driver's arguments that bound its waiting, unless the url sets them."""
    if url.get_backend_name() == "sqlite":
        return {} if "timeout" in url.query else {"timeout": lock_patience.total_seconds()}
    option = CONNECT_TIMEOUT_OPTION.get(url.get_driver_name())
    return {} if option is None or option in url.query else {option: int(CONNECT_PATIENCE.total_seconds())}


def sqlite_file(url: sa.URL) -> Path | None:
    """The file of a SQLite url; None for a database in memory and for other databases."""
    if url.get_backend_name() != "sqlite" or "uri" in url.query or url.database in (None, "", ":memory:"):
        return None
    return Path(str(url.database))


def is_missing(path: Path) -> bool:
    """Whether a path does not exist; a path without permission to look at it is not missing."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False

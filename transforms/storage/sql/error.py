"""Failures of a SQL sink, each in one message without secrets.

SqlSinkError          what callers catch
├─ made by `translated` from SQLAlchemy's errors and from
│  Refusal            our own reasons, raised where neither url nor table is known
├─ SqlOvertaken       made from Overtaken: another launch of a live job has taken over
└─ SqlTableGone       made from Gone: a table of a live job no longer exists
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import quote, quote_plus

import sqlalchemy as sa

from transforms.errors import SqlOvertaken, SqlSinkError, SqlTableGone

LONGEST_REASON: Final = 400  # characters; a driver may append a whole statement
SECRET_OPTIONS: Final = ("pass", "secret", "token", "key", "credential")


class Refusal(Exception):
    """A failure without its url and table; it never leaves this package."""

    becomes: type[SqlSinkError] = SqlSinkError


class Overtaken(Refusal):
    """Another launch or attempt has taken over."""

    becomes = SqlOvertaken


GONE: Final = "it is gone, with what this job stored in it; restore it, or make it again with `rebuild`"


class Gone(Refusal):
    """A table no longer exists."""

    becomes = SqlTableGone


@contextmanager
def translated(url: sa.URL, table: str | None = None) -> Iterator[None]:
    """Turns every error of the database in the block into a SqlSinkError; other exceptions pass unchanged.

    Errors are not chained: exceptions of drivers hold statements, values of records and connection strings, and a
    logged traceback prints every exception of its chain.
    """
    try:
        yield
    except (Refusal, sa.exc.SQLAlchemyError) as error:
        subject = f"{shown(url)}: " + (f"table {table!r}: " if table is not None else "")
        kind = error.becomes if isinstance(error, Refusal) else SqlSinkError
        raise kind(subject + without_secrets(reason(error), url)) from None


def shown(url: sa.URL) -> str:
    """The url with `***` for its password and without options, which may hold secrets too."""
    return url.set(query={}).render_as_string(hide_password=True)


def reason(error: BaseException) -> str:
    """The driver's reason in one line: its first message, without the record that it quotes."""
    original = getattr(error, "orig", None) or error
    # psycopg's text continues with DETAIL and CONTEXT, which quote the row.
    primary = getattr(getattr(original, "diag", None), "message_primary", None)
    words = " ".join(str(primary or original).split())
    return words if len(words) <= LONGEST_REASON else words[:LONGEST_REASON] + " …"


def without_secrets(text: str, url: sa.URL) -> str:
    """`text` with every secret of `url`, plain or percent-encoded, replaced by `***`."""
    secrets = [url.password] if url.password else []
    for option, values in url.normalized_query.items():
        if any(part in option.lower() for part in SECRET_OPTIONS):
            secrets.extend(values)
    for secret in sorted(filter(None, map(str, secrets)), key=len, reverse=True):
        for spelling in (secret, quote_plus(secret), quote(secret), quote(secret, safe="")):
            text = text.replace(spelling, "***")
    return text

"""`collect`: the collector, and a look into its log."""

import os
import re
import sqlite3
import time
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Final

import click

from transforms.collection.log_file import LogError, size
from transforms.collection.log_inspection import damage, summarize
from transforms.collection.log_readers import readers
from transforms.specification import parse_duration

_SIZE: Final = re.compile(r"([0-9]+) ?([KMGT]i?)?B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def collect(log: str, token_env: str | None, limits: Mapping[str, object]) -> None:
    """Collects records into a log until it is told to end.

    Args:
        log: the folder of the log.
        token_env: the environment variable that holds the token of sessions.
        limits: fields of `Settings`, as the command line gives them; what is None keeps its default.

    Raises:
        UsageError: if a limit is wrong, the log cannot be used, or the address is taken.
        JobFailed: if the log is damaged while it is written.
    """
    from dataflow.collector.server import serve
    from dataflow.collector.settings import Settings

    try:
        settings = Settings(log=log, token=token_from(token_env), **dict(_parsed(limits)))
    except ValueError as error:
        raise _usage_error(str(error)) from None
    try:
        serve(settings, lambda sentence: click.echo(sentence, err=not sentence.startswith("collecting on ")))
    except LogError as error:
        raise _usage_error(str(error)) from None
    except sqlite3.Error as error:
        from dataflow.run import JobFailed

        raise JobFailed(f"{log}: the log can no longer be written: {error}") from error
    except OSError as error:
        raise _usage_error(f"{settings.host}:{settings.port}: {error.strerror or error}") from None


def _parsed(limits: Mapping[str, object]) -> Iterator[tuple[str, Any]]:
    for name, value in limits.items():
        if value is None:
            continue
        try:
            if name in ("keep", "idle_timeout", "line_timeout"):
                value = parse_duration(value)
            elif isinstance(value, str) and name != "host":
                value = parse_size(value)
        except ValueError as error:
            raise ValueError(f"--{name.replace('_', '-')} {error}, is {value}") from None
        yield name, value


def token_from(variable: str | None) -> str | None:
    """The token that an environment variable holds.

    Raises:
        ValueError: if the variable is not set, or empty.
    """
    if variable is None:
        return None
    token = os.environ.get(variable)
    if not token:
        raise ValueError(f"--token-env: the environment variable {variable} is not set, or empty")
    return token


def parse_size(text: str) -> int:
    """Reads `1MiB`, `64k` or `1048576`; every prefix is a power of 1,024.

    >>> parse_size("1MiB"), parse_size("64k")
    (1048576, 65536)

    Raises:
        ValueError: for anything else.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("must be a number of bytes such as 1MiB or 1048576")
    return int(match[1]) * 1024 ** _POWERS[(match[2] or "")[:1].lower()]


def inspect(log: str) -> int:
    """Prints what a log holds, who wrote and who reads it, and whether it is whole.

    Returns:
        The exit code: 1 if it is damaged.

    Raises:
        UsageError: if there is no log.
    """
    try:
        held = summarize(log)
        found = damage(log)
    except LogError as error:
        raise _usage_error(str(error)) from None
    extent = held.extent
    now = time.time_ns() // 1000
    _line("log", log)
    _line("records", f"{extent.end_position - extent.first_position:,}", extent.first_position, extent.end_position)
    _line("chunks", f"{extent.end_chunk - extent.first_chunk:,}", extent.first_chunk, extent.end_chunk)
    _line("heartbeats", f"{held.heartbeats:,}")
    if held.oldest is not None and held.newest is not None:
        _line("oldest", _time(held.oldest, now))
        _line("newest", _time(held.newest, now))
    _line("listened", _duration(held.elapsed))
    ratio = f", {held.line_bytes / held.compressed_bytes:.1f} to 1" if held.compressed_bytes else ""
    _line("lines", f"{held.line_bytes:,} bytes, compressed {held.compressed_bytes:,}{ratio}")
    _line("on disk", f"{size(log):,} bytes")
    for source, next_ in held.sessions.items():
        _line("source", f"{source}  next {next_:,}")
    for name, passed in readers(log).items():
        _line("reader", f"{name}  passed chunk {passed:,}, {max(0, extent.end_chunk - passed):,} behind")
    for sentence in found:
        click.echo(f"damaged: {sentence}", err=True)
    _line("integrity", "DAMAGED" if found else "whole")
    return 1 if found else 0


def _line(name: str, value: str, first: int | None = None, end: int | None = None) -> None:
    where = "" if first is None else f"  [{first:,}, {end:,})"
    click.echo(f"{name:<12}{value}{where}")


def _time(micros: int, now: int) -> str:
    moment = datetime.fromtimestamp(micros / 1e6, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC, {_duration(max(0, now - micros))} ago"


def _duration(micros: int) -> str:
    return str(timedelta(seconds=micros // 1_000_000))


def _usage_error(message: str) -> Exception:
    from dataflow.errors import UsageError  # what it imports takes longer than the start of a collector

    return UsageError(message)

"""`collect`: the collector."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import click

from transforms.errors import LogError
from transforms.specification import parse_duration

_SIZE: Final = re.compile(r"([0-9]+) ?([KMGT]i?)?B?", re.IGNORECASE)
_POWERS: Final = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def collect(log: str, token_env: str | None, limits: Mapping[str, object]) -> None:
    """Collects records into a log until a signal ends it.

    Args:
        log: the folder of the log.
        token_env: the environment variable that holds the token of sessions.
        limits: fields of `Settings` from the command line; None keeps the default.

    Raises:
        UsageError: if a limit is wrong, the log cannot be used, or the address is taken.
        JobFailed: if the log is damaged while the collector writes it.
    """
    from dataflow.collector.server import CannotListen, CollectorFailed, serve
    from dataflow.collector.settings import Settings

    try:
        settings = Settings(log=log, token=token_from(token_env), **dict(_parsed(limits)))
    except ValueError as error:
        raise _usage_error(str(error)) from None
    try:
        serve(settings, lambda sentence: click.echo(sentence, err=not sentence.startswith("collecting on ")))
    except (LogError, CannotListen) as error:
        raise _usage_error(str(error)) from None
    except CollectorFailed as error:
        from dataflow.errors import JobFailed

        raise JobFailed(str(error)) from error


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


def _usage_error(message: str) -> Exception:
    from dataflow.errors import UsageError  # importing it takes longer than the start of a collector

    return UsageError(message)

"""`collect --inspect`, `--repair` and `--forget-reader`: inspect a log, repair it, or release it from a reader."""

import time
from datetime import datetime, timedelta, timezone

import click

from transforms.collection.log.file import open_to_read, size
from transforms.collection.log.inspection import damage, summarize
from transforms.collection.log.losses import losses
from transforms.collection.log.readers import forget, readers, seen
from transforms.collection.log.repair import repair as repair_log
from transforms.errors import LogError

_SHOWN = 20


def inspect(log: str) -> int:
    """Prints a log's contents, writers and readers, and whether it is whole; if not, what a repair would give up.

    Returns:
        The exit code: 1 if it is damaged.

    Raises:
        UsageError: if there is no log.
    """
    try:
        open_to_read(log).close()
        found = damage(log)
    except LogError as error:
        raise _usage_error(str(error)) from None
    _line("log", log)
    end = 0
    try:
        end = _print_figures(log)
    except LogError as error:
        found = found or [str(error)]
    _line("on disk", f"{size(log):,} bytes")
    for reader in seen(log):
        remaining = (
            f"{max(0, end - reader.passed):,} chunks left, last heard of {_duration(int(reader.silent * 1e6))} ago"
        )
        _line("reader", f"{reader.name}  passed chunk {reader.passed:,}, {remaining}")
    for sentence in found:
        click.echo(f"damaged: {sentence}", err=True)
    _line("integrity", "DAMAGED" if found else "whole")
    if found:
        _print_losses(log)
    return 1 if found else 0


def _print_figures(log: str) -> int:
    """Prints the figures of a log; returns its next chunk."""
    held = summarize(log)
    extent, now = held.extent, time.time_ns() // 1000
    _line("records", f"{extent.end_position - extent.first_position:,}", extent.first_position, extent.end_position)
    _line("chunks", f"{extent.end_chunk - extent.first_chunk:,}", extent.first_chunk, extent.end_chunk)
    _line("heartbeats", f"{held.heartbeats:,}")
    if held.oldest is not None and held.newest is not None:
        _line("oldest", _time(held.oldest, now))
        _line("newest", _time(held.newest, now))
    _line("listened", _duration(held.elapsed))
    ratio = f", {held.line_bytes / held.compressed_bytes:.1f} to 1" if held.compressed_bytes else ""
    _line("lines", f"{held.line_bytes:,} bytes, compressed {held.compressed_bytes:,}{ratio}")
    for source, next_ in held.sessions.items():
        _line("source", f"{source}  next {next_:,}")
    return extent.end_chunk


def _print_losses(log: str) -> None:
    try:
        lost = losses(log)
    except LogError as error:
        click.echo(str(error), err=True)
        return
    for chunk in lost[:_SHOWN]:
        _line("lost", chunk.words())
    if len(lost) > _SHOWN:
        _line("lost", f"and {len(lost) - _SHOWN:,} more chunks")
    records = sum(chunk.count for chunk in lost)
    click.echo(
        f"`collect --log {log} --repair` makes the log whole and gives up {records:,} records for good; jobs will turn"
        " these into dead letters"
    )


def repair(log: str) -> None:
    """Makes a log whole, and prints what was given up.

    Raises:
        UsageError: if there is no log, a collector writes to it, or it cannot be repaired.
    """
    try:
        was_damaged = bool(damage(log))
        lost = repair_log(log) if was_damaged else []
        left = damage(log)
    except LogError as error:
        raise _usage_error(str(error)) from None
    for chunk in lost:
        _line("lost", chunk.words())
    if left:
        raise _usage_error(left[0])
    if not was_damaged:
        click.echo("the log is whole: there is nothing to repair")
        return
    records = sum(chunk.count for chunk in lost)
    begin = summarize(log).extent.first_position
    click.echo(
        f"the log is whole again, from record {begin:,}; {records:,} of its records were given up, and jobs will turn"
        " these into dead letters"
    )


def forget_reader(log: str, name: str) -> None:
    """Releases a log from a reader, even while a collector writes to it.

    Raises:
        UsageError: if there is no log, or no such reader.
    """
    try:
        open_to_read(log).close()
    except LogError as error:
        raise _usage_error(str(error)) from None
    known = readers(log)
    if not forget(log, name):
        there = f"there are {', '.join(known)}" if known else "there is none"
        raise _usage_error(f"--forget-reader: {log} has no reader {name}; {there}")
    click.echo(
        f"the log no longer keeps chunks for reader {name}; if its job is still running, it will hold the log again"
    )
    if len(known) == 1:
        click.echo("it was the only reader: the log forgets nothing until another reader appears")


def _line(name: str, value: str, first: int | None = None, end: int | None = None) -> None:
    where = "" if first is None else f"  [{first:,}, {end:,})"
    click.echo(f"{name:<12}{value}{where}")


def _time(micros: int, now: int) -> str:
    moment = datetime.fromtimestamp(micros / 1e6, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC, {_duration(max(0, now - micros))} ago"


def _duration(micros: int) -> str:
    return str(timedelta(seconds=micros // 1_000_000))


def _usage_error(message: str) -> Exception:
    from dataflow.errors import UsageError  # importing it takes longer than the start of a collector

    return UsageError(message)

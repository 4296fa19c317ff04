"""`send`: sends files to a collector, each record once, as fast as possible or at a given pace."""

import hashlib
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Final

import click
import numpy as np
import numpy.typing as npt

from dataflow.collector.client import Client, ClientError
from dataflow.collector.protocol import LONGEST_SOURCE, is_source
from dataflow.collector.rows import Block, TimeField, read_blocks
from dataflow.commands.collect import token_from
from dataflow.errors import JobFailed, UsageError
from transforms.specification import parse_duration

SHORTEST_REST: Final = 0.005
"""The least pause of a paced sender in seconds: records due within one pause are sent together."""


def send_files(
    files: Sequence[str],
    *,
    to: str,
    source: str | None,
    token_env: str | None,
    rate: float | None,
    speed_up: float | None,
    event_time: str | None,
    unit: str | None,
    shift_to_now: bool,
    last_line: bool,
    give_up_after: str,
) -> None:
    """Sends the rows of files that the collector does not have yet, and prints how many it has.

    A last line without a newline is not sent, unless `last_line` says that it is complete.

    Raises:
        UsageError: if the options contradict each other, or a file does not exist.
        SourceError: if a file cannot be read to its end.
        JobFailed: if the collector refuses the rows, or is unreachable for too long.
    """
    host, port = _address(to)
    name = source if source is not None else source_of(files)
    if not is_source(name):
        raise UsageError(f"--source must be 1 to {LONGEST_SOURCE} printable characters and not `plain`, is {name!r}")
    _refuse_contradictions(rate, speed_up, event_time, unit, shift_to_now)
    for file in files:
        if "://" not in file and not Path(file).is_file():
            raise UsageError(f"{file}: there is no such file")
    try:
        token, patience = token_from(token_env), parse_duration(give_up_after).total_seconds()
    except ValueError as error:
        raise UsageError(str(error)) from None
    clock = None if event_time is None else TimeField(event_time, unit)
    blocks: Iterator[Block] = (block for file in files for block in read_blocks(file))
    held: list[Block] = []
    client = Client(host, port, name, token, give_up_after=patience, report=lambda text: click.echo(text, err=True))
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with client:
            begun, started = client.next, time.monotonic()
            blocks = _after(blocks, begun, name)
            if not last_line:
                blocks = _without_unended(blocks, held)
            if shift_to_now and clock is not None:
                blocks = _shifted(blocks, clock)
            with _progress(client, begun) as show:
                _send_blocks(client, blocks, clock, rate, speed_up, show)
                client.flush()
    except ClientError as error:
        raise JobFailed(f"{error} ({client.acknowledged:,} records are acknowledged)") from error
    except KeyboardInterrupt:
        click.echo(f"{name}: {client.acknowledged:,} records are acknowledged; `send` again resumes there", err=True)
        raise
    sent, seconds = client.acknowledged - begun, max(time.monotonic() - started, 1e-3)
    before = f", {begun:,} were sent before" if begun else ""
    click.echo(f"{name}: sent {sent:,} records in {seconds:.1f} s ({sent / seconds:,.0f} a second){before}")
    for block in held:
        click.echo(f"{_last_bytes(block)} and were not sent; --last-line sends them", err=True)


def _refuse_contradictions(
    rate: float | None, speed_up: float | None, event_time: str | None, unit: str | None, shift_to_now: bool
) -> None:
    if rate is not None and speed_up is not None:
        raise UsageError("give --rate or --speed-up, not both")
    for option, number in (("--rate", rate), ("--speed-up", speed_up)):
        if number is not None and not 0 < number < float("inf"):
            raise UsageError(f"{option} must be positive, is {number:g}")
    if event_time is None and (speed_up is not None or shift_to_now or unit is not None):
        raise UsageError("--speed-up, --shift-to-now and --unit need --event-time COLUMN")


def _send_blocks(
    client: Client,
    blocks: Iterator[Block],
    clock: TimeField | None,
    rate: float | None,
    speed_up: float | None,
    show: "_Show",
) -> None:
    """Sends blocks when they are due."""
    if speed_up is not None and clock is not None:
        _send_paced(client, _due_by_event_time(blocks, clock, speed_up), show)
    elif rate is not None:
        _send_paced(client, _due_by_rate(blocks, rate), show)
    else:
        for block in blocks:
            client.send_block(block.data, block.count)
            show()


def source_of(files: Sequence[str]) -> str:
    """The source of files: a recognisable name that is unique to these files and their folders.

    >>> source_of(["/data/gates.jsonl"])
    'gates.jsonl-06261ae6'
    """
    places = "\n".join(file if "://" in file else os.path.abspath(file) for file in files)
    digest = hashlib.sha256(places.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    first = "".join(letter for letter in os.path.basename(files[0]) if letter.isprintable())[:100]
    return f"{first}{f'+{len(files) - 1}' if len(files) > 1 else ''}-{digest}"


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise UsageError(f"--to must be HOST:PORT, is {text}")
    return host.strip("[]"), int(port)


def _without_unended(blocks: Iterator[Block], held: list[Block]) -> Iterator[Block]:
    """The rows without a last line that has no newline yet, which goes to `held`.

    Raises:
        UsageError: if rows follow it: their numbers would leave no room for it.
    """
    for block in blocks:
        if held:
            raise UsageError(
                f"{_last_bytes(held[0])}, and records of another file follow it:"
                " end the line, or send it unchanged with --last-line"
            )
        if block.unended is None:
            yield block
        else:
            held.append(block)


def _last_bytes(block: Block) -> str:
    size = len(block.data) - 1
    return f"{block.unended}: the last {size:,} byte{' has' if size == 1 else 's have'} no newline yet"


def _after(blocks: Iterator[Block], count: int, source: str) -> Iterator[Block]:
    """The rows that the collector does not have."""
    missing = count
    for block in blocks:
        if missing >= block.count:
            missing -= block.count
        elif missing:
            yield block.after(missing)
            missing = 0
        else:
            yield block
    if missing:
        raise UsageError(
            f"the collector has {count:,} records of {source}, the files only {count - missing:,};"
            " give another --source"
        )


def _shifted(blocks: Iterator[Block], clock: TimeField) -> Iterator[Block]:
    """Rows whose event times begin now."""
    seconds: float | None = None
    for block in blocks:
        if seconds is None:
            known = clock.of(block)
            known = known[~np.isnan(known)]
            if not len(known):
                yield block
                continue
            seconds = time.time() - float(known[0])
        yield clock.shifted(block, seconds)


def _due_by_event_time(
    blocks: Iterator[Block], clock: TimeField, speed_up: float
) -> Iterator[tuple[Block, npt.NDArray[np.float64]]]:
    """Blocks, and how many seconds after the first row each row is due: never before an earlier row."""
    first, latest = float("nan"), 0.0
    for block in blocks:
        times = clock.of(block)
        if np.isnan(first):
            known = times[~np.isnan(times)]
            if not len(known):
                raise UsageError(f"--event-time: no row has a time that can be read in {clock.column}")
            first = float(known[0])
        due = np.maximum.accumulate(np.fmax((times - first) / speed_up, latest))
        latest = float(due[-1])
        yield block, due


def _due_by_rate(blocks: Iterator[Block], rate: float) -> Iterator[tuple[Block, npt.NDArray[np.float64]]]:
    sent = 0
    for block in blocks:
        yield block, np.arange(sent, sent + block.count) / rate
        sent += block.count


def _send_paced(client: Client, blocks: Iterator[tuple[Block, npt.NDArray[np.float64]]], show: "_Show") -> None:
    started = time.monotonic()
    for block, due in blocks:
        lines, begin = block.lines(), 0
        while begin < len(lines):
            now = time.monotonic() - started
            end = int(np.searchsorted(due, now, side="right"))
            if end > begin:
                client.send_block(b"".join(lines[begin:end]), end - begin)
                begin = end
            else:
                client.wait(max(SHORTEST_REST, min(float(due[begin]) - now, 1.0)))
            show()


class _Show:
    """Shows the progress on a terminal."""

    def __init__(self, client: Client, begun: int):
        from rich.console import Console

        console = Console(stderr=True)
        self._client, self._begun, self._started = client, begun, time.monotonic()
        self._shown = 0.0
        self.status = console.status("") if console.is_terminal else None

    def __call__(self) -> None:
        now = time.monotonic()
        if self.status is None or now - self._shown < 0.2:
            return
        self._shown = now
        sent = self._client.acknowledged - self._begun
        rate = sent / max(now - self._started, 1e-3)
        self.status.update(f"{self._client.source}: {sent:,} records acknowledged, {rate:,.0f} a second")


@contextmanager
def _progress(client: Client, begun: int) -> Iterator[_Show]:
    show = _Show(client, begun)
    if show.status is None:
        yield show
    else:
        with show.status:
            yield show


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt

"""The job file as text: the choices, and in comments their reasons and alternatives."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import yaml

from dataflow.inference.aggregation_choice import WINDOW_SIZES, AggregationChoice
from dataflow.inference.column_names import spoken
from dataflow.inference.data_file import DataFiles
from dataflow.inference.event_time import TimeCandidate
from dataflow.inference.sample import Sample, SampledColumn

_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./-]*")
_NOT_TEXT: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_ALTERNATIVES: Final = 3
_MOST_LEFT_OUT: Final = 50
_UNITS: Final = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}


def write_job(
    job: str, data: DataFiles, sample: Sample, times: Sequence[TimeCandidate], choice: AggregationChoice
) -> str:
    """The text of a job file; `times` are the possible event times, of which the first is chosen."""
    sections = (
        _head(data, sample),
        [f"job: {scalar(job)}"],
        _source(data),
        _record(sample, times),
        _preprocess(choice),
        _aggregations(sample, choice),
        _sinks(job),
    )
    return "\n\n".join("\n".join(lines) for lines in map(list, sections)) + "\n"


def scalar(text: str) -> str:
    """A text as a YAML scalar that is read back as this text, in a list, a mapping or alone, in YAML 1.1 and 1.2.

    >>> scalar("dep_delay"), scalar("no"), scalar("a: b"), scalar("1e3")
    ('dep_delay', '"no"', '"a: b"', '"1e3"')
    """
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return yaml.safe_dump(text, default_style='"', width=1_000_000, allow_unicode=True).rstrip("\n")


def _head(data: DataFiles, sample: Sample) -> Iterator[str]:
    amount = _amount(sum(part.records * part.scale for part in sample.parts))
    first = spoken(data.files[0].path) + (f" and {_count(len(data.files) - 1, 'more file')}" if data.files[1:] else "")
    number = _count(sample.records, "record")
    seen = f"all of its {number}" if sample.whole else f"{number} (of some {amount})"
    yield f"# A first job file: `init` wrote it from {first}, {seen}."
    yield "# Choices are guesses from that sample: `check` says whether the job is valid, `plan` shows its tables."
    if sample.bad:
        what = "line was not a readable record" if sample.bad == 1 else "lines were not readable records"
        yield f"# {sample.bad:,} {what}: in a run each of these is a dead letter."


def _source(data: DataFiles) -> Iterator[str]:
    yield "source:"
    yield "  files:"
    yield "    # Relative to this file; a pattern such as data/*.csv takes more files; gs:// and s3:// work too."
    if len(data.entries) == 1:
        yield f"    paths: [{scalar(data.entries[0])}]"
    else:
        yield "    paths:"
        yield from (f"      - {scalar(entry)}" for entry in data.entries)
    yield f"    format: {data.format}"


def _record(sample: Sample, times: Sequence[TimeCandidate]) -> Iterator[str]:
    chosen = times[0]
    yield "record:"
    yield from (f"  # {line}" for line in _why_event_time(chosen, sample))
    yield f"  event_time: {_event_time(chosen)}"
    for other in times[1 : 1 + _ALTERNATIVES]:
        change = "" if _written_type(other.column, None) == other.type else f", as {other.type} in columns"
        yield f"  # or: {{column: {spoken(scalar(other.column.name))}, {_how(other)}}}{change}"
    yield "  # '?' = may be null; a sample cannot prove that no null follows. Fields not named here are ignored."
    yield "  columns:"
    for column in sample.columns:
        note = _note(column, chosen, sample)
        line = f"    {scalar(column.name)}: {_written_type(column, chosen)}"
        yield f"{line}  # {note}" if note else line
    if sample.left_out:
        yield "  # Left out:"
        yield from (f"  #   {spoken(column.name)}: {column.reason}" for column in sample.left_out[:_MOST_LEFT_OUT])
        if (more := len(sample.left_out) - _MOST_LEFT_OUT) > 0:
            yield f"  #   and {more} more"


def _why_event_time(chosen: TimeCandidate, sample: Sample) -> Iterator[str]:
    if chosen.form != "iso8601":
        yield f"event time: {_UNITS[chosen.form]} since 1970-01-01 UTC"
        if chosen.is_guess:
            yield "A guess from its values alone: no column is named like a time. Please check it."
    elif any(isinstance(cell, str) for cell in chosen.column.cells):
        what = "ISO 8601 dates" if chosen.days_only else "ISO 8601 text"
        yield f"event time: {what}; a naive time is read in time_zone (default UTC)"
    else:
        yield "event time: a timestamp column; a naive time is read in time_zone (default UTC)"
    if chosen.missing:
        share = f"{chosen.missing:,} of {sample.records:,} sampled records"
        yield f"{share} have no usable one: in a run each of these is a dead letter"


def _event_time(time: TimeCandidate) -> str:
    return f"{{column: {scalar(time.column.name)}, {_how(time)}}}"


def _how(time: TimeCandidate) -> str:
    return "format: iso8601" if time.form == "iso8601" else f"unit: {time.form}"


def _written_type(column: SampledColumn, chosen: TimeCandidate | None) -> str:
    if chosen is not None and column is chosen.column:
        return chosen.type
    return column.type + ("?" if column.nullable and chosen is not None else "")


def _note(column: SampledColumn, chosen: TimeCandidate, sample: Sample) -> str:
    if column is chosen.column:
        return column.note
    notes = [column.note] if column.note else []
    if column.misfits:
        notes.append(f"{column.misfits:,} of {sample.records:,} sampled values do not fit: dead letters in a run")
    if column.behind_markers:
        notes.append(
            f"{column.behind_markers} but for {_listed(column.markers)}: text here, so that these are not dead letters"
        )
    return "; ".join(notes)


def _preprocess(choice: AggregationChoice) -> Iterator[str]:
    yield "# Steps before the aggregation, in the order written: trim, drop_nulls, fill, clip, derive, filter, …"
    if not choice.derived:
        yield "# preprocess:"
        yield f"#   - drop_nulls: [{scalar(choice.statistics[0][0])}]"
        return
    yield "preprocess:"
    yield "  # These are text because of values that stand for null; here they become numbers and nulls."
    yield "  - derive:"
    for name, column in choice.derived.items():
        yield f"      {scalar(name)}: {_expression(_numbers_of(column))}"


def _numbers_of(column: SampledColumn) -> str:
    """The SQL that converts a text column to numbers: null markers become null, any other text is an error.

    An empty field is a value of a text column, so it must be listed with the markers.
    """
    quoted = '"' + column.name.replace('"', '""') + '"'
    nulls = ", ".join(f"'{marker}'" for marker in (*column.markers, ""))
    kind = "BIGINT" if column.behind_markers == "int64" else "DOUBLE"
    return f"CASE WHEN {quoted} NOT IN ({nulls}) THEN CAST({quoted} AS {kind}) END"


def _expression(text: str) -> str:
    """An expression as a value on a separate line: plain if YAML allows it, because of the expression's quotes."""
    plain = yaml.safe_dump(text, width=1_000_000, allow_unicode=True).removesuffix("...\n").rstrip("\n")
    return plain if text.isprintable() else scalar(text)


def _listed(markers: Sequence[str]) -> str:
    return " or ".join(f"'{marker}'" for marker in markers[:_ALTERNATIVES])


def _aggregations(sample: Sample, choice: AggregationChoice) -> Iterator[str]:
    yield "aggregations:"
    yield f"  - name: {choice.name}"
    yield from (f"    # {line}" for line in _why_key(choice))
    yield f"    key: [{scalar(choice.key.name)}]" if choice.key else "    key: []"
    yield f"    # {_why_window(choice)}"
    yield f"    window: {{size: {choice.window}}}"
    yield "    # also: var, sum, first, last, any percentile such as p99.9; distinct and top10 for text"
    yield "    statistics:"
    yield from (f"      {scalar(name)}: [{', '.join(wanted)}]" for name, wanted in choice.statistics)
    if choice.model is not None:
        asked = choice.model.model_dump(mode="json", exclude_unset=True)
        yield "    # models:"
        yield f"    #   example: {{{', '.join(f'{name}: {_flow(value)}' for name, value in asked.items())}}}"


def _flow(value: object) -> str:
    """A value of a specification on one line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_flow, value))}]"
    return scalar(value) if isinstance(value, str) else json.dumps(value)


def _why_key(choice: AggregationChoice) -> Iterator[str]:
    if choice.key is None:
        yield "one global key: no column divides the records into a few groups"
    else:
        yield f"{_count(choice.key.distinct, 'value')} in the sample; [] = all records together"
    if choice.other_keys:
        others = (f"{spoken(column.name)} ({column.distinct:,})" for column in choice.other_keys[:_ALTERNATIVES])
        yield "other possible keys, alone or together: " + ", ".join(others)


def _why_window(choice: AggregationChoice) -> str:
    if choice.span_micros <= 0:
        return "the sample shows no span of time to choose a size by; every: 15m makes it slide"
    windows = max(1, round(choice.span_micros / WINDOW_SIZES[choice.window]))
    return f"about {_count(windows, 'window')} over {_duration(choice.span_micros)}; add `every` to make it slide"


def _sinks(job: str) -> Iterable[str]:
    yield "sinks:"
    yield f"  - parquet: {{path: {scalar(f'out/{job}')}}}"
    yield f'  # - sql: {{url: "sqlite:///out/{job}.db"}}'
    yield ""
    yield "# Records that could not be read or converted, with the reason; above this share the job fails."
    yield f"dead_letters: {{path: {scalar(f'out/{job}/dead_letters')}, fail_above: 0.5}}"
    yield f"report: {scalar(f'out/{job}/report.html')}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def _amount(number: float) -> str:
    """A number rounded to two significant digits."""
    digits = max(0, len(str(round(number))) - 2)
    return f"{round(number, -digits):,.0f}"


def _duration(micros: int) -> str:
    for noun, size in (("day", 86_400_000_000), ("hour", 3_600_000_000), ("minute", 60_000_000)):
        if micros >= 2 * size:
            return f"about {_count(round(micros / size), noun)}"
    return f"about {_count(max(1, round(micros / 1_000_000)), 'second')}"

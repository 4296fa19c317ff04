"""What a scenario says in the end: a table, and whether its targets are met."""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.figures import Spread

NOTHING = "-"


@dataclass(frozen=True, slots=True)
class Target:
    """A promise and what was measured; `met` is None where nothing could be measured."""

    promise: str
    measured: str
    value: float | None
    met: bool | None

    @property
    def verdict(self) -> str:
        return {True: "met", False: "missed", None: "not judged"}[self.met]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scenario's table and targets."""

    name: str
    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    targets: Sequence[Target]


def at_least(limit: float, value: float | None, promise: str, measured: str) -> Target:
    return Target(promise, measured, value, None if value is None else value >= limit)


def at_most(limit: float, value: float | None, promise: str, measured: str) -> Target:
    return Target(promise, measured, value, None if value is None else value <= limit)


def median_of(values: Spread | None) -> float | None:
    return None if values is None else values.median


def million(rows: float | None) -> str:
    return NOTHING if rows is None else f"{rows / 1e6:.3g}"


def row_count(rows: int) -> str:
    return f"{rows / 1e6:.3g} M" if rows >= 1_000_000 else f"{rows:,}"


def seconds(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.2f} s"


def megabytes(value: float | None) -> str:
    return NOTHING if value is None else f"{value / 1e6:,.0f} MB"


def times(value: Spread | None) -> str:
    """A ratio as its median with the range it was taken from."""
    return NOTHING if value is None else f"{value.median:.3g} ({value.low:.3g} to {value.high:.3g})"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Renders a Markdown table; all columns but the first are set to the right."""
    rule = [":--", *["--:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (header, rule, *rows))


def markdown(outcome: Outcome) -> str:
    targets = [f"- **{target.verdict}**: {target.promise}. Measured: {target.measured}." for target in outcome.targets]
    parts = (f"## {outcome.title}", markdown_table(outcome.header, outcome.rows), "\n".join(targets))
    return "\n\n".join(part for part in parts if part)

"""What the right answer is, and whether a contender gave it: a contender with wrong figures gets no time."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from benchmarks.events import DECIMALS, EventSet, file_paths, make_once
from benchmarks.measurement import RunError

RELATIVE = 1e-9
SCALE = 10**DECIMALS
# Rounding one input to a double moves it by half of this at most; 16 leaves a kernel a few operations.
ROUNDING = 16 * 2.0**-52

COLUMNS = "sensor, window_start, n, mean, std, min, max, slope, intercept, r2"

# The events have six decimals, so millionths are whole numbers and every sum below is exact; only the last division
# rounds. `noise_*` says how far a correct kernel may be off, because the doubles it read were rounded: in a window with
# two features 0.000001 apart, the spread itself has few correct digits.
EXACT_ANSWER = """
    with whole as (
        select sensor, ts // {every_ms} as slice,
            round(feature * {scale})::bigint as x, round(target * {scale})::bigint as y, feature
        from events
    ), slices as (
        select sensor, slice, count(*)::hugeint as n, sum(x) as x, sum(y) as y, sum(x * x) as xx, sum(x * y) as xy,
            sum(y * y) as yy, min(feature) as min, max(feature) as max
        from whole group by all
    ), windows as (
        select sensor, slice - back as slice, sum(n)::hugeint as n, sum(x)::hugeint as x, sum(y)::hugeint as y,
            sum(xx)::hugeint as xx, sum(xy)::hugeint as xy, sum(yy)::hugeint as yy, min(min) as min, max(max) as max
        from slices, range({size_ms} // {every_ms}) as steps(back)
        group by all
    ), centred as (
        select *, n * xx - x * x as sxx, n * xy - x * y as sxy, n * yy - y * y as syy from windows
    ), figures as (
        select sensor, slice * {every_ms} as window_start, n::bigint as n, x / n::double / {scale} as mean,
            case when n > 1 then sqrt(sxx::double / n::double / (n - 1)::double) / {scale} end as std, min, max,
            sxy::double / nullif(sxx, 0)::double as slope,
            (y * xx - x * xy)::double / nullif(sxx, 0)::double / {scale} as intercept,
            sxy::double * sxy::double / (nullif(sxx, 0)::double * nullif(syy, 0)::double) as r2,
            sqrt(syy::double / nullif(sxx, 0)::double) as steepness,
            sqrt(n::double * xx::double / nullif(sxx, 0)::double) as condition_x,
            sqrt(n::double * yy::double / nullif(syy, 0)::double) as condition_y
        from centred
    )
    select {columns},
        0.0 as noise_mean,
        {rounding} * greatest(abs(min), abs(max)) as noise_std,
        {rounding} * (condition_x + coalesce(condition_y, 1)) as noise_r2,
        noise_r2 * steepness as noise_slope,
        noise_slope * abs(mean) + {rounding} * abs(intercept + slope * mean) as noise_intercept
    from figures
"""

# A line through one point, or r2 of a target that does not vary, is a matter of convention: compared where defined.
DIFFERENCES = """
    select (select count(*) from exact), (select count(*) from given), {checks}
    from exact full join given using (sensor, window_start)
"""
EQUAL = ("n", "min", "max")
CLOSE = ("mean", "std")
CLOSE_WHERE_DEFINED = ("slope", "intercept", "r2")


@dataclass(frozen=True, slots=True)
class Window:
    """A window's size and the step between two starts, in seconds; equal for tumbling windows."""

    size_s: int = 60
    every_s: int = 60

    @property
    def title(self) -> str:
        return f"{self.size_s} s" if self.size_s == self.every_s else f"{self.size_s} s every {self.every_s} s"


Relation = duckdb.DuckDBPyRelation
Reader = Callable[[duckdb.DuckDBPyConnection], Relation]


def exact_answer(events: EventSet, window: Window, folder: Path) -> Path:
    """Returns a Parquet file of the exact figures of the clean events; computes it where it is missing."""
    clean = events.clean
    path = folder / f"{clean.stem}-{clean.parts}-answer-{window.size_s}s-{window.every_s}s.parquet"
    query = EXACT_ANSWER.format(
        every_ms=window.every_s * 1000,
        size_ms=window.size_s * 1000,
        scale=SCALE,
        rounding=ROUNDING,
        columns=COLUMNS,
    )
    sources = file_paths(clean, "parquet", folder)

    def compute(partial: Path) -> None:
        with duckdb.connect() as connection:
            connection.read_parquet(list(map(str, sources))).create_view("events")
            connection.sql(query).write_parquet(str(partial))

    make_once(path, compute)
    return path


def check_answer(given: Reader, exact: Path) -> None:
    """Compares a contender's table (`COLUMNS`; `window_start` in ms) with the exact one, row by row.

    Raises:
        RunError: a row is missing or too many, a count, minimum or maximum differs, or a float is off by more than
            1e-9 relative; the message names the columns and how many rows.
    """
    counts = ", ".join(f"count(*) filter (not coalesce({test}, false)) as {column}" for column, test in conditions())
    with duckdb.connect() as connection:
        connection.read_parquet(str(exact)).create_view("exact")
        given(connection).create_view("given")
        (rows, given_rows, *wrong) = connection.sql(DIFFERENCES.format(checks=counts)).fetchall()[0]
    found = [f"{column} in {count}" for (column, _), count in zip(conditions(), wrong, strict=True) if count]
    if given_rows != rows:  # a row that is there twice is right twice
        found.append(f"it has {given_rows} rows")
    if found:
        raise RunError(f"wrong answer, of {rows} rows: {', '.join(found)}")


def conditions() -> list[tuple[str, str]]:
    """For each column the SQL condition under which a row's figure is right."""
    equal = [(column, f"given.{column} = exact.{column}") for column in EQUAL]
    close = [(column, f"{within(column)} or (given.{column} is null and exact.{column} is null)") for column in CLOSE]
    defined = [(column, f"exact.n is not null and ({loosely(column)})") for column in CLOSE_WHERE_DEFINED]
    return equal + close + defined


def within(column: str) -> str:
    bound = f"{RELATIVE} * abs(exact.{column}) + exact.noise_{column}"
    return f"abs(given.{column} - exact.{column}) <= {bound}"


def loosely(column: str) -> str:
    return f"{within(column)} or exact.{column} is null"

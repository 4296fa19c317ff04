"""The scenarios: which trials each needs, and what it concludes from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Protocol

from benchmarks.answers import Window
from benchmarks.contenders import Contender, Task
from benchmarks.events import PARTS, EventSet, Format
from benchmarks.figures import Pair, cpu, middle, peak, ratio, speed_ratio, wall
from benchmarks.outcomes import (
    Outcome,
    at_least,
    at_most,
    median_of,
    megabytes,
    million,
    row_count,
    seconds,
    times,
)
from benchmarks.trials import Results, Trial, small_sample

FULL_ROWS = 5_000_000
OURS, HELP, YARDSTICK, ROW_WISE = "streamgauge", "help", "duckdb_2", "beam_rows"
TITLES: dict[Format, str] = {"jsonl": "JSON lines", "parquet": "Parquet"}
TUMBLING, SLIDING = Window(300, 300), Window(6 * 3600, 300)

# CPU and peak memory of a pair are those of its large set.
PAIR = ("M rows/s", "wall, small set", "wall, large set", "start-up", "CPU", "CPU a million rows", "peak memory")
COSTS = ("rows", "wall", "CPU", "peak memory")


class Scenario(Protocol):
    @property
    def name(self) -> str: ...

    def trials(self) -> list[Trial]: ...

    def outcome(self, results: Results) -> Outcome: ...


@dataclass(frozen=True, slots=True)
class Sizes:
    """Event sets from the number of rows of one file; slow contenders' samples shrink with it."""

    rows: int = FULL_ROWS

    @property
    def one(self) -> EventSet:
        return EventSet(self.rows)

    @property
    def four(self) -> EventSet:
        return EventSet(self.rows, parts=PARTS)

    @property
    def pair(self) -> tuple[EventSet, EventSet]:
        """The small and the large set for a marginal rate."""
        return self.one, self.four

    def pair_for(self, contender: Contender, kind: Format) -> tuple[EventSet, EventSet]:
        """The pair that `contender` gets: first rows only, where it is slow."""
        if contender.json_sample is None or kind != "jsonl":
            return self.pair
        small, large = (max(1, rows * self.rows // FULL_ROWS) for rows in contender.json_sample)
        return self.first(small), self.first(large)

    def first(self, rows: int) -> EventSet:
        return self.one if rows == self.rows else replace(self.one, head=rows)


def paired(results: Results, contender: str, sets: tuple[EventSet, EventSet], kind: Format) -> Pair:
    small, large = (Trial(contender, Task(events, kind)) for events in sets)
    return Pair(results.of(small), results.of(large), sets[0].records, sets[1].records)


def cost_row(title: str, trial: Trial, results: Results) -> list[str]:
    runs = results.of(trial)
    return [
        title,
        row_count(trial.task.events.records),
        seconds(middle(runs, wall)),
        seconds(middle(runs, cpu)),
        megabytes(middle(runs, peak)),
    ]


@dataclass(frozen=True, slots=True)
class Throughput:
    """Every contender on the same clean events: marginal rates, and ratios to DuckDB on two threads."""

    name: str
    kind: Format
    sizes: Sizes
    contenders: Sequence[Contender]
    least_of_duckdb: float
    aim_of_duckdb: float
    least_of_rows: float | None = None

    def trials(self) -> list[Trial]:
        pairs = [(contender.name, self.sizes.pair_for(contender, self.kind)) for contender in self.contenders]
        return [Trial(name, Task(sets[size], self.kind)) for size in (0, 1) for name, sets in pairs]

    def outcome(self, results: Results) -> Outcome:
        pairs = {
            contender.name: paired(results, contender.name, self.sizes.pair_for(contender, self.kind), self.kind)
            for contender in self.contenders
        }
        rows = [self.row(contender.title, pairs[contender.name], pairs.get(YARDSTICK)) for contender in self.contenders]
        header = ("", *PAIR, "x DuckDB, 2 threads")
        targets = []
        if OURS in pairs:
            targets.append(at_most(5, pairs[OURS].start_up_s, "start-up at most 5 s", seconds(pairs[OURS].start_up_s)))
        if OURS in pairs and YARDSTICK in pairs:
            share = speed_ratio(pairs[OURS], pairs[YARDSTICK])
            promise = f"at least {self.least_of_duckdb} x DuckDB on 2 threads, aim {self.aim_of_duckdb}"
            targets.append(at_least(self.least_of_duckdb, median_of(share), promise, times(share)))
        if self.least_of_rows is not None and OURS in pairs and ROW_WISE in pairs:
            gain = speed_ratio(pairs[OURS], pairs[ROW_WISE])
            promise = f"at least {self.least_of_rows:g} x Beam, a row at a time"
            targets.append(at_least(self.least_of_rows, median_of(gain), promise, times(gain)))
        return Outcome(self.name, f"{TITLES[self.kind]}: marginal rates", header, rows, targets)

    @staticmethod
    def row(title: str, pair: Pair, yardstick: Pair | None) -> list[str]:
        return [
            title,
            million(pair.marginal_rate),
            f"{seconds(middle(pair.small, wall))} ({row_count(pair.small_rows)})",
            f"{seconds(middle(pair.large, wall))} ({row_count(pair.large_rows)})",
            seconds(pair.start_up_s),
            seconds(middle(pair.large, cpu)),
            seconds(pair.cpu_s_per_million),
            megabytes(middle(pair.large, peak)),
            times(speed_ratio(pair, yardstick) if yardstick else None),
        ]


@dataclass(frozen=True, slots=True)
class BadRecords:
    """One record in a hundred is bad, in a dozen ways: what that costs by marginal rates, as start-up hides nothing."""

    sizes: Sizes
    name: str = "bad"

    def sets(self, *, has_bad: bool) -> tuple[EventSet, EventSet]:
        small, large = (replace(events, has_bad=has_bad) for events in self.sizes.pair)
        return small, large

    def trials(self) -> list[Trial]:
        pairs = [self.sets(has_bad=has_bad) for has_bad in (False, True)]
        return [Trial(OURS, Task(sets[size])) for size in (0, 1) for sets in pairs]

    def outcome(self, results: Results) -> Outcome:
        clean = paired(results, OURS, self.sets(has_bad=False), "jsonl")
        bad = paired(results, OURS, self.sets(has_bad=True), "jsonl")
        cost, whole = speed_ratio(clean, bad), ratio(bad.small, clean.small, wall)
        rows = [
            ["clean", *Throughput.row("", clean, None)[1:-1], "1"],
            ["1 % bad", *Throughput.row("", bad, None)[1:-1], times(cost)],
        ]
        header = ("", *PAIR, "time a row, x clean")
        measured = f"{times(cost)}; the whole command on the small set {times(whole)}"
        target = at_most(1.3, median_of(cost), "1 % bad records take at most 1.3 x the time a row", measured)
        return Outcome(self.name, "JSON lines with 1 % bad records", header, rows, [target])


@dataclass(frozen=True, slots=True)
class SlidingWindows:
    """Six hours every five minutes over a day, so that windows fill; the whole command against tumbling ones."""

    sizes: Sizes
    name: str = "sliding"

    def trial(self, kind: Format, window: Window) -> Trial:
        return Trial(OURS, Task(replace(self.sizes.one, span=timedelta(days=1)), kind, window))

    def trials(self) -> list[Trial]:
        return [self.trial(kind, window) for kind in TITLES for window in (TUMBLING, SLIDING)]

    def outcome(self, results: Results) -> Outcome:
        rows, targets = [], []
        for kind, title in TITLES.items():
            tumbling, sliding = self.trial(kind, TUMBLING), self.trial(kind, SLIDING)
            cost = ratio(results.of(sliding), results.of(tumbling), wall)
            rows.append([*cost_row(f"{title}, tumbling 5 min", tumbling, results), "1"])
            rows.append([*cost_row(f"{title}, 6 h every 5 min", sliding, results), times(cost)])
            promise = f"{title}: sliding takes at most 2 x the wall of tumbling"
            targets.append(at_most(2, median_of(cost), promise, times(cost)))
        return Outcome(self.name, "Sliding windows over a day", ("", *COSTS, "x tumbling"), rows, targets)


@dataclass(frozen=True, slots=True)
class Memory:
    """Four times the rows in the same windows."""

    sizes: Sizes
    name: str = "memory"

    def trials(self) -> list[Trial]:
        return [Trial(OURS, Task(events, kind)) for kind in TITLES for events in self.sizes.pair]

    def outcome(self, results: Results) -> Outcome:
        rows, targets = [], []
        for kind, title in TITLES.items():
            small, large = (Trial(OURS, Task(events, kind)) for events in self.sizes.pair)
            growth = ratio(results.of(large), results.of(small), peak)
            rows.append([*cost_row(title, small, results), "1"])
            rows.append([*cost_row(title, large, results), times(growth)])
            promise = f"{title}: four times the rows take at most 1.15 x the peak memory"
            targets.append(at_most(1.15, median_of(growth), promise, times(growth)))
        return Outcome(self.name, "Memory", ("", *COSTS, "x peak memory"), rows, targets)


@dataclass(frozen=True, slots=True)
class ManyKeys:
    """100,000 keys, so that most windows hold a row or two and the result is nearly as large as the input."""

    sizes: Sizes
    contenders: Sequence[Contender]
    name: str = "keys"

    def task(self, kind: Format) -> Task:
        return Task(replace(self.sizes.one, keys=100_000), kind)

    def trials(self) -> list[Trial]:
        names = [contender.name for contender in self.contenders if contender.name in (OURS, YARDSTICK)]
        return [Trial(name, self.task(kind)) for kind in TITLES for name in names]

    def outcome(self, results: Results) -> Outcome:
        titles = {contender.name: contender.title for contender in self.contenders}
        rows, targets = [], []
        for trial in self.trials():
            runs = results.of(trial)
            title = TITLES[trial.task.kind]
            cost = ratio(runs, results.of(replace(trial, contender=YARDSTICK)), wall)
            rows.append([*cost_row(f"{titles[trial.contender]}, {title}", trial, results), times(cost)])
            if trial.contender == OURS:
                right = bool(runs)
                measured = "right in every run" if right else "it failed"
                targets.append(at_least(1, float(right), f"{title}: 100,000 keys give the right answer", measured))
        return Outcome(self.name, "100,000 keys", ("", *COSTS, "x wall of DuckDB, 2 threads"), rows, targets)


@dataclass(frozen=True, slots=True)
class StartUp:
    """What a command costs before there is any data to speak of."""

    sizes: Sizes
    name: str = "start"

    def trials(self) -> list[Trial]:
        task = Task(small_sample(self.sizes.one))
        return [Trial(OURS, task), Trial(HELP, task)]

    def outcome(self, results: Results) -> Outcome:
        small, page = self.trials()
        run, asked = middle(results.of(small), wall), middle(results.of(page), wall)
        rows = [cost_row("run, a small file", small, results), cost_row("--help", page, results)]
        targets = [
            at_most(5, run, "the whole command on a small file takes at most 5 s", seconds(run)),
            at_most(1, asked, "`--help` takes at most 1 s", seconds(asked)),
        ]
        return Outcome(self.name, "Start-up", ("", *COSTS), rows, targets)


NAMES = ("json", "parquet", "bad", "sliding", "memory", "keys", "start")


def scenarios(sizes: Sizes, contenders: Sequence[Contender]) -> list[Scenario]:
    """Returns every scenario, in the order of `NAMES`; `contenders` are those that take part."""
    readers = [contender for contender in contenders if "parquet" in contender.formats]
    return [
        Throughput("json", "jsonl", sizes, contenders, 0.5, 0.9, least_of_rows=120),
        Throughput("parquet", "parquet", sizes, readers, 0.3, 0.6),
        BadRecords(sizes),
        SlidingWindows(sizes),
        Memory(sizes),
        ManyKeys(sizes, contenders),
        StartUp(sizes),
    ]

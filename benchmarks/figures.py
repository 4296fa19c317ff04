"""From runs to figures: medians, marginal rates, ratios within a round."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from statistics import median

from benchmarks.measurement import Measurement

Runs = Sequence[Measurement]


@dataclass(frozen=True, slots=True)
class Spread:
    """A median with the least and greatest value it was taken from."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread | None:
    return Spread(median(values), min(values), max(values)) if values else None


def wall(run: Measurement) -> float:
    return run.wall_s


def cpu(run: Measurement) -> float:
    return run.cpu_s


def peak(run: Measurement) -> float:
    return float(run.peak_bytes)


def middle(runs: Runs, of: Callable[[Measurement], float]) -> float | None:
    """The median of one figure; None without runs."""
    return median(map(of, runs)) if runs else None


@dataclass(frozen=True, slots=True)
class Pair:
    """A contender's runs on a small and a large set of the same windows: what is fixed is separated from what grows."""

    small: Runs
    large: Runs
    small_rows: int
    large_rows: int

    @property
    def extra_rows(self) -> int:
        return self.large_rows - self.small_rows

    @property
    def marginal_rate(self) -> float | None:
        """Rows a second beyond the start: the extra rows over the difference of the median walls.

        None without runs, or if the difference drowned in noise.
        """
        if not mostly([cost > 0 for cost in self.seconds_per_row]):
            return None
        seconds = median(map(wall, self.large)) - median(map(wall, self.small))
        return self.extra_rows / seconds if seconds > 0 else None

    @property
    def start_up_s(self) -> float | None:
        """What of the small set's wall its rows do not explain at the marginal rate."""
        rate = self.marginal_rate
        return None if rate is None else median(map(wall, self.small)) - self.small_rows / rate

    @property
    def cpu_s_per_million(self) -> float | None:
        """Marginal CPU time: what wall clocks say on a quiet machine, this says on a busy one too."""
        if not self.small or not self.large:
            return None
        return (median(map(cpu, self.large)) - median(map(cpu, self.small))) / self.extra_rows * 1e6

    @property
    def seconds_per_row(self) -> list[float]:
        """One marginal cost a round; not positive where noise was larger than the difference."""
        return [(b.wall_s - a.wall_s) / self.extra_rows for a, b in zip(self.small, self.large, strict=False)]


def mostly(rounds: Sequence[bool]) -> bool:
    return 2 * sum(rounds) > len(rounds)


def speed_ratio(ours: Pair, theirs: Pair) -> Spread | None:
    """How many times as fast our extra rows went as theirs, compared within each round.

    None if a difference drowned in noise in half of the rounds or more.
    """
    rounds = list(zip(ours.seconds_per_row, theirs.seconds_per_row, strict=False))
    usable = [our > 0 and their > 0 for our, their in rounds]
    return spread([their / our for our, their in compress(rounds, usable)]) if mostly(usable) else None


def ratio(above: Runs, below: Runs, of: Callable[[Measurement], float]) -> Spread | None:
    """One figure of `above` over that of `below`, compared within each round."""
    return spread([of(a) / of(b) for a, b in zip(above, below, strict=False)])

"""Families of statistics: each file of `statistics` declares one, and everything that names a statistic reads it here.

The job file's schema and its messages, the measures of a job, the report's titles, and the laws that tests hold every
statistic to come from what is declared. A new statistic is one file there.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from transforms.aggregation import statistics
from transforms.aggregation.accumulator import Accumulator
from transforms.declared import declared_in
from transforms.specification import NUMERIC, ColumnType

ANY: Final[frozenset[ColumnType]] = NUMERIC | {"string", "timestamp"}
"""The types of columns of a family that takes every type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """A statistic, or all of one form, such as percentiles.

    Args:
        name: what the job file calls it; of a form, what stands for its names (`pNN`).
        meaning: what it is, in a few words.
        title: its title in a report; of a form, a function from a name to the title.
        pattern: of a form, the regular expression that its names match; empty: the name itself.
        accepts: of a form, whether a name that matches is valid.
        also: names that other programs give it, and the name here; for a statistic that is not a form, the name may be
            left out.
        is_amount: whether its zero means something, so that charts begin there.
        samples: of a form, some of its names.
    """

    name: str
    meaning: str
    title: str | Callable[[str], str]
    pattern: str = ""
    accepts: Callable[[str], bool] = lambda name: True
    also: Mapping[str, str] = field(default_factory=dict)
    is_amount: bool = False
    samples: tuple[str, ...] = ()

    def is_named(self, name: str) -> bool:
        """Whether a name in the job file means this statistic."""
        if not self.pattern:
            return name == self.name
        return re.fullmatch(self.pattern, name) is not None and self.accepts(name)

    def title_of(self, name: str) -> str:
        """The title that a report gives to a name."""
        return self.title if isinstance(self.title, str) else self.title(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Statistics that come from one state.

    Args:
        name: part of the names of its state's columns, and so of checkpoints: it stays.
        order: its place among the families, where they are listed.
        takes: the types of columns that it takes.
        accumulator: what keeps the state of a column of a type.
        includes: families whose statistics its state also answers: a column that needs both keeps only this state.
    """

    name: str
    order: int
    statistics: tuple[Statistic, ...]
    accumulator: Callable[[ColumnType], Accumulator]
    takes: frozenset[ColumnType] = ANY
    includes: frozenset[str] = frozenset()

    @property
    def samples(self) -> list[str]:
        """The statistics that its state answers, those of the families that it includes among them."""
        own = [name for statistic in self.statistics for name in statistic.samples or (statistic.name,)]
        return [name for other in sorted(self.includes) for name in families()[other].samples] + own


_REGISTERED: Final[dict[str, Family]] = {}


def register(family: Family) -> None:
    """Registers a family from outside `statistics`, so that job files can name its statistics.

    Raises:
        ValueError: if its name, or that of one of its statistics, is another family's.
    """
    if _REGISTERED.get(family.name) == family:
        return
    if family.name in families():
        raise ValueError(f"a family named {family.name} is registered already")
    own = [name for statistic in family.statistics for name in statistic.samples or (statistic.name,)]
    if taken := [name for name in own if is_statistic(name)]:
        raise ValueError(f"the statistic {taken[0]} is one of {family_of(taken[0]).name} already")
    _REGISTERED[family.name] = family
    families.cache_clear()
    _found.cache_clear()


@cache
def families() -> Mapping[str, Family]:
    """Every family by its name, in their order."""
    found: list[Family] = [*declared_in(statistics, "FAMILY"), *_REGISTERED.values()]
    return {family.name: family for family in sorted(found, key=lambda family: family.order)}


def all_statistics() -> Sequence[Statistic]:
    """Every statistic, in the order of the families."""
    return [statistic for family in families().values() for statistic in family.statistics]


@cache
def _found(name: str) -> tuple[Family, Statistic] | None:
    """The statistic that the job file names, and its family; None: there is none."""
    for family in families().values():
        for statistic in family.statistics:
            if statistic.is_named(name):
                return family, statistic
    return None


def family_of(name: str) -> Family:
    """The family of a statistic that the job file names.

    Raises:
        ValueError: if there is no such statistic.
    """
    found = _found(name)
    if found is None:
        raise ValueError(f"{rule()}, is {name}{meant([name])}")
    return found[0]


def statistic_of(name: str) -> Statistic | None:
    """The statistic that the job file names; None: there is none."""
    found = _found(name)
    return found[1] if found is not None else None


def is_statistic(name: str) -> bool:
    """Whether the job file can name it."""
    return _found(name) is not None


def rule() -> str:
    """What a name must be, as messages say it."""
    return f"must be one of {', '.join(statistic.name for statistic in all_statistics())}"


def meant(names: Sequence[str]) -> str:
    """What a message adds for names that other programs use: the names here."""
    spoken = {other: name for statistic in all_statistics() for other, name in statistic.also.items()}
    known = dict.fromkeys(f"{name} is {spoken[name.lower()]}" for name in names if name.lower() in spoken)
    return f" ({', '.join(known)} here)" if known else ""


def names_pattern() -> str:
    """A regular expression of every name."""
    alternatives = "|".join(statistic.pattern or re.escape(statistic.name) for statistic in all_statistics())
    return f"^({alternatives})$"

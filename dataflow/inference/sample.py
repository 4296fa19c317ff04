"""What was seen of the data: typed columns over a stretch of records of each file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dataflow.inference.column_names import words_of
from dataflow.inference.kind import NumericType
from transforms.record.batch import RESERVED
from transforms.specification import ColumnType

SAMPLED_BYTES: Final = 2_000_000
SAMPLED_RECORDS: Final = 20_000
"""Enough to see a type, a key and a rhythm; read and judged in about a second."""

SAMPLED_FILES: Final = 8
"""Of many files these are read, evenly from the first to the last: together they show the whole span of time."""

MOST_COLUMNS: Final = 500
LONGEST_NAME: Final = 500
"""A YAML key on one line has at most 1,024 characters, quotes and escapes included."""


@dataclass(frozen=True, slots=True)
class SampledColumn:
    """A column that a job can use.

    `cells` has one entry a record of the sample: None where the value is null, absent or no scalar; µs since the
    epoch where the file itself says timestamp (Parquet); else the value as written. `bounds` are
    the least and the greatest value of the whole input where the files tell them. `misfits` counts the sampled
    values that contradict `type`. `behind_markers` is the type it would have if its `markers` (`NA` and the like)
    were nulls. `present` of the cells are no nulls, and `distinct` of them differ.
    """

    name: str
    type: ColumnType
    nullable: bool
    cells: Sequence[Any]
    bounds: tuple[int, int] | None = None
    misfits: int = 0
    behind_markers: NumericType | None = None
    markers: Sequence[str] = ()
    note: str = ""
    present: int = field(init=False)
    distinct: int = field(init=False)

    def __post_init__(self) -> None:
        values = [cell for cell in self.cells if cell is not None]
        object.__setattr__(self, "present", len(values))
        object.__setattr__(self, "distinct", len(set(values)))

    @property
    def words(self) -> tuple[str, ...]:
        """The lower-case words of the name."""
        return words_of(self.name)


@dataclass(frozen=True, slots=True)
class SamplePart:
    """The records of the sample that come from one file; `scale` is the file's size over that of what was read."""

    records: int
    scale: float


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that the job does not name, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """A stretch of records of the input, column by column; `bad` lines among them are no records at all."""

    parts: Sequence[SamplePart]
    columns: Sequence[SampledColumn]
    left_out: Sequence[LeftOut]
    bad: int = 0
    whole: bool = True
    """Whether the sample is all there is."""

    @property
    def records(self) -> int:
        """How many records were seen."""
        return sum(part.records for part in self.parts)


def why_unusable(name: str, taken: set[str]) -> str | None:
    """Why a job file cannot name this column, or None; `taken` holds the case-folded names it has already."""
    if not name:
        return "it has no name"
    if len(name) > LONGEST_NAME:
        return f"its name is longer than {LONGEST_NAME} characters"
    if "${" in name:
        return "a job file would read its name as an environment variable"
    if name in RESERVED:
        return "its name is reserved"
    if "\0" in name or not is_encodable(name):
        return "its name is not valid text"
    if name.casefold() in taken:
        return "another column has the same name, apart from upper and lower case"
    if len(taken) >= MOST_COLUMNS:
        return f"there are more than {MOST_COLUMNS} columns"
    return None


def is_encodable(text: str) -> bool:
    """Whether a text has a UTF-8 form: a lone surrogate has none."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def sample_evenly(count: int) -> list[int]:
    """Which of `count` files are read: all of a few, else the first, the last and some evenly between.

    >>> sample_evenly(3), sample_evenly(15)
    ([0, 1, 2], [0, 2, 4, 6, 8, 10, 12, 14])
    """
    if count <= SAMPLED_FILES:
        return list(range(count))
    return [place * (count - 1) // (SAMPLED_FILES - 1) for place in range(SAMPLED_FILES)]

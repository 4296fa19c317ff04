"""A sample of the data: typed columns of the first records of each file."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from dataflow.inference.column_names import words_of
from dataflow.inference.kind import NumericType
from transforms.record.batch import RESERVED
from transforms.specification import ColumnType

SAMPLED_BYTES: Final = 2_000_000
SAMPLED_RECORDS: Final = 20_000
"""Enough to find types, a key and a rhythm; takes about a second."""

SAMPLED_FILES: Final = 8
"""Of many files, this many are read, spread evenly so that they cover the whole span of time."""

MOST_COLUMNS: Final = 500
LONGEST_NAME: Final = 500
"""YAML limits a key on one line to 1,024 characters, including quotes and escapes."""


@dataclass(frozen=True, slots=True)
class SampledColumn:
    """A column that a job can use.

    `cells` has one entry per record of the sample: None if the value is null, absent or not a scalar; µs since the
    epoch if the file declares a timestamp (Parquet); otherwise the value as written. `bounds` are the least and the
    greatest value of the whole input, if the files contain them. `misfits` counts the sampled values that contradict
    `type`. `behind_markers` is the type that the column would have if its `markers` (`NA` and the like) were nulls.
    `present` is the number of cells that are not null, and `distinct` that of different values.
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
    """The sample's records from one file; `scale` is the file's size divided by that of the part read."""

    records: int
    scale: float


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A column that the job does not name, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Sampled records of the input, by column; `bad` counts the lines among them that are not records."""

    parts: Sequence[SamplePart]
    columns: Sequence[SampledColumn]
    left_out: Sequence[LeftOut]
    bad: int = 0
    whole: bool = True
    """Whether the sample is the whole input."""

    @property
    def records(self) -> int:
        """The number of sampled records."""
        return sum(part.records for part in self.parts)


def why_unusable(name: str, taken: set[str]) -> str | None:
    """Why a job file cannot name this column, or None; `taken` holds the case-folded names already in use."""
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
    """Whether a text can be encoded as UTF-8: a lone surrogate cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def sample_evenly(count: int) -> list[int]:
    """Which of `count` files are read: all of a few; otherwise the first, the last and some evenly between them.

    >>> sample_evenly(3), sample_evenly(15)
    ([0, 1, 2], [0, 2, 4, 6, 8, 10, 12, 14])
    """
    if count <= SAMPLED_FILES:
        return list(range(count))
    return [place * (count - 1) // (SAMPLED_FILES - 1) for place in range(SAMPLED_FILES)]

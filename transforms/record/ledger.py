"""The ledger: for every range of a source, how many records were read and what became of each.

It is data, not counters: a row per range, stored next to the tables, and always
`read = accepted + dead + filtered + duplicate + late`.
"""

from collections.abc import Iterable
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from transforms.record.batch import one_batch

COUNTS: Final = ("read", "accepted", "dead", "filtered", "duplicate", "late", "partly_late")
KEY: Final = ("source", "first_position")
SCHEMA: Final = pa.schema(
    [
        pa.field("source", pa.string(), nullable=False),
        pa.field("first_position", pa.int64(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in COUNTS),
    ]
)


def entry(source: str, first_position: int, **counts: int) -> pa.RecordBatch:
    """One row of SCHEMA; counts that are not given are 0.

    >>> entry("a.csv", 0, read=3, accepted=2, dead=1).num_rows
    1
    """
    unknown = counts.keys() - set(COUNTS)
    if unknown:
        raise ValueError(f"a ledger has the counts {', '.join(COUNTS)}, not {', '.join(sorted(unknown))}")
    row = {"source": source, "first_position": first_position, **dict.fromkeys(COUNTS, 0), **counts}
    return pa.RecordBatch.from_pylist([row], schema=SCHEMA)


def entries(source: str, first_positions: npt.NDArray[np.int64], **counts: npt.NDArray[np.int64]) -> pa.RecordBatch:
    """Rows of SCHEMA, one for each range; counts that are not given are 0."""
    size = len(first_positions)
    columns = [pa.array([source] * size, pa.string()), pa.array(first_positions, pa.int64())]
    columns += [pa.array(counts.get(name, np.zeros(size, np.int64)), pa.int64()) for name in COUNTS]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


def tally(values: npt.NDArray[np.int64], ranges: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The number of `values` that equal each of the sorted, unique `ranges`."""
    return np.bincount(np.searchsorted(ranges, values), minlength=len(ranges)).astype(np.int64)


def merge(entries: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """Adds up the entries of each range; commutes and associates, and no entries give an empty ledger."""
    table = pa.Table.from_batches(entries, schema=SCHEMA)
    summed = table.group_by(list(KEY), use_threads=False).aggregate([(name, "sum") for name in COUNTS])
    columns = [summed[name] for name in KEY] + [summed[f"{name}_sum"] for name in COUNTS]
    ordered = pa.table([column.combine_chunks() for column in columns], schema=SCHEMA)
    return one_batch(ordered.sort_by([(name, "ascending") for name in KEY]).combine_chunks())


def divide(ledger: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Divides a ledger in the order of `merge`: all rows that are final, and each source's last row, which may grow."""
    sources = ledger["source"].to_numpy(zero_copy_only=False)
    is_last = np.append(sources[1:] != sources[:-1], np.ones(min(len(sources), 1), bool))
    last = pa.array(is_last.astype(bool))
    return ledger.filter(pc.invert(last)), ledger.filter(last)


def totals(ledger: pa.RecordBatch | pa.Table) -> dict[str, int]:
    """The sum of each count over all ranges."""
    return {name: int(pc.sum(ledger[name]).as_py() or 0) for name in COUNTS}


def imbalance(counts: dict[str, int]) -> int:
    """Records that were read and are not accounted for; 0 in every ledger that balances."""
    return counts["read"] - sum(counts[name] for name in ("accepted", "dead", "filtered", "duplicate", "late"))

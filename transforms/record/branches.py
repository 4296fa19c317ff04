"""Steps over batches with several outputs: the batches, and side outputs that account for records that left them."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import apache_beam as beam
import pyarrow as pa

import transforms.record.coder  # noqa: F401  # registers the Arrow coder

BOOKS: Final = ("dead_letters", "ledger")

Branched: TypeAlias = (  # real objects, which Beam reads
    pa.RecordBatch
    | beam.pvalue.TaggedOutput[Literal["dead_letters"], pa.RecordBatch]
    | beam.pvalue.TaggedOutput[Literal["ledger"], pa.RecordBatch]
)
"""What a step gives that has those in addition to its batches; a tag without its type makes Beam warn."""


if TYPE_CHECKING:
    Outputs: TypeAlias = beam.pvalue.DoOutputsTuple
    Tables: TypeAlias = dict[str, beam.PCollection[pa.RecordBatch]]
    Emitted: TypeAlias = (
        pa.RecordBatch
        | beam.transforms.window.TimestampedValue
        | beam.pvalue.TaggedOutput[Any, pa.RecordBatch | beam.transforms.window.TimestampedValue]
    )
else:
    Outputs = Tables = Emitted = Any
"""What `expand` returns, with an attribute for each output or an entry for each table; and what `process` yields.

Beam reads these annotations as types of elements, so it sees nothing of them: the types of outputs are declared where
a step is made.
"""


def branching(fn: beam.DoFn, *tags: str) -> beam.ParDo:
    """A DoFn as a step with the output `batches` and a side output for each tag, all of them of batches.

    Beam would pickle the elements of an output without a type.
    """
    typed = beam.ParDo(fn).with_output_types(pa.RecordBatch, **dict.fromkeys(tags, pa.RecordBatch))
    return typed.with_outputs(*tags, main="batches")


def branched(parts: Iterable[tuple[str, pa.RecordBatch]]) -> Iterator[Branched]:
    """Batches with the names of their outputs, as a step with the output `batches` gives them: the others tagged."""
    for tag, batch in parts:
        yield batch if tag == "batches" else beam.pvalue.TaggedOutput(tag, batch)


class PassOnFn(beam.DoFn):
    """Passes batches on as they are."""

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        yield batch

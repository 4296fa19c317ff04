"""Steps over batches with more than one output: the batches themselves, and the books of those that left them."""

from typing import Any, Final

import apache_beam as beam
import pyarrow as pa

import transforms.record.coder  # noqa: F401  # registers the Arrow coder

BOOKS: Final = ("dead_letters", "ledger")


def branching(fn: beam.DoFn, *tags: str) -> Any:
    """A DoFn as a step whose outputs are `batches` and those of each tag, all of them batches.

    An output whose type is not told is pickled.
    """
    typed = beam.ParDo(fn).with_output_types(pa.RecordBatch, **dict.fromkeys(tags, pa.RecordBatch))
    return typed.with_outputs(*tags, main="batches")

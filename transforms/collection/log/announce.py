"""What a job says to the collector after each checkpoint, as Beam runs it."""

from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa

from transforms.collection.log.hold import Hold
from transforms.time.tick import tick_of


class AnnounceFn(beam.DoFn):
    """Announces to the collector, once everything before a tick is stored, which chunks this job no longer needs."""

    def __init__(self, hold: Hold):
        self._hold = hold

    def process(self, tick: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        self._hold.announce_kept(tick_of(tick).chunk)
        yield tick

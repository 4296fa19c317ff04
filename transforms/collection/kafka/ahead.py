"""Reading a topic ahead: while a reading is worked on, and while the runner pauses, the next one is under way."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from transforms.collection.kafka.reader import KafkaReader
from transforms.collection.kafka.records import Reading


class AheadReader:
    """A reader with a thread of its own; at most one reading waits to be asked for."""

    def __init__(self, reader: KafkaReader):
        self._reader = reader
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-ahead")
        self._begun: tuple[Mapping[int, int], Future[Reading]] | None = None

    def begin(self, offsets: Mapping[int, int], timeout: float) -> None:
        """Begins to read on from these offsets."""
        self._begun = offsets, self._thread.submit(self._reader.read, offsets, timeout)

    def read(self, offsets: Mapping[int, int], timeout: float) -> Reading:
        """What comes next in each partition: as it was begun, or read now where it was begun elsewhere.

        Raises:
            SourceError: as the reader does.
        """
        begun, self._begun = self._begun, None
        if begun is not None:
            begun_at, under_way = begun
            wait([under_way])  # the reader reads at one place at a time
            if begun_at == offsets and (reading := under_way.result()).fetched:
                return reading  # an empty one is old: there may be something now
        return self._reader.read(offsets, timeout)

    def close(self) -> None:
        """Waits for what was begun, and closes the reader."""
        self._thread.shutdown()
        self._reader.close()

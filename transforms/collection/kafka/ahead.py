"""Reads a topic ahead: the next reading runs while the last one is processed, and while the runner pauses."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait

from transforms.collection.kafka.reader import KafkaReader
from transforms.collection.kafka.records import Reading


class AheadReader:
    """A reader with a separate thread; at most one reading waits for its caller."""

    def __init__(self, reader: KafkaReader):
        self._reader = reader
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="kafka-ahead")
        self._begun: tuple[Mapping[int, int], Future[Reading]] | None = None

    def begin(self, offsets: Mapping[int, int], timeout: float) -> None:
        """Starts the reading from these offsets."""
        self._begun = offsets, self._thread.submit(self._reader.read, offsets, timeout)

    def read(self, offsets: Mapping[int, int], timeout: float) -> Reading:
        """The next messages of each partition: from the reading that was started, or read now if it began elsewhere.

        Raises:
            SourceError: like the reader.
        """
        begun, self._begun = self._begun, None
        if begun is not None:
            begun_at, under_way = begun
            wait([under_way])  # the reader allows one reading at a time
            if begun_at == offsets and (reading := under_way.result()).fetched:
                return reading  # an empty one is outdated: messages may have arrived since
        return self._reader.read(offsets, timeout)

    def close(self) -> None:
        """Waits for a reading in progress, and closes the reader."""
        self._thread.shutdown()
        self._reader.close()

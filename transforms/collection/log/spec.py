"""The collector's log as a source: where it is, and how much of it stays."""

from collections.abc import Hashable, Iterator
from datetime import timedelta

from pydantic import Field

from transforms.collection.spec import SourceKindSpec
from transforms.location import NamedPath, identity
from transforms.specification import Duration


class LogSpec(SourceKindSpec):
    """The collector's durable log: read to its present end, or for ever with `--streaming`.

    `path` is the log's folder, relative to the job file. `retain` is how far back, at least, `verify` can replay the
    log; the collector keeps that much of it, whatever its own `--keep` says.
    """

    path: str = Field(min_length=1)
    retain: Duration = timedelta(hours=1)

    def named_paths(self) -> Iterator[NamedPath]:
        yield NamedPath(("path",), self.path, stays=True)

    def occupied(self) -> Iterator[tuple[str, str, frozenset[Hashable]]]:
        yield "the log", self.path, frozenset({identity(self.path)})

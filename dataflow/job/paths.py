"""Every path and URL of a job file: which field holds it, and whether it means what it says."""

from collections.abc import Iterator
from dataclasses import dataclass

from dataflow.job.problem import Place, Problem
from dataflow.job.refusal import shown
from dataflow.job.spec import JobSpec
from transforms.location import is_local, mistake, scheme, unwritable
from transforms.storage.kafka.spec import KafkaSinkSpec
from transforms.storage.spec import ParquetSinkSpec
from transforms.storage.sql.fit import file_of, unusable, unusable_schema
from transforms.systems.kafka import KafkaCluster


@dataclass(frozen=True, slots=True)
class Named:
    """A path or URL of a job file and its field.

    Args:
        stays: whether this version can only use it on a machine's own file system.
        written: whether tables are written there.
        shared: whether every worker of a cluster needs it.
    """

    place: Place
    text: str
    stays: bool = False
    written: bool = False
    shared: bool = True


def paths(spec: JobSpec) -> Iterator[Named]:
    """Every path and URL of files and folders, in the order of the job file."""
    if spec.source.files is not None:
        several = len(spec.source.files.paths) > 1
        for index, path in enumerate(spec.source.files.paths):
            yield Named(("source", "files", "paths", *([index] if several else [])), path)
    if spec.source.log is not None:
        yield Named(("source", "log", "path"), spec.source.log.path, stays=True)
    if spec.source.kafka is not None:
        yield from _keys(("source", "kafka"), spec.source.kafka)
    for index, sink in enumerate(spec.sinks):
        if isinstance(sink, ParquetSinkSpec):
            yield Named(("sinks", index, "parquet", "path"), sink.parquet.path, written=True)
        elif isinstance(sink, KafkaSinkSpec):
            yield from _keys(("sinks", index, "kafka"), sink.kafka)
        elif (file := file_of(sink.sql.url)) is not None:
            yield Named(("sinks", index, "sql", "url"), file, stays=True)
    if spec.dead_letters.path is not None:
        yield Named(("dead_letters", "path"), spec.dead_letters.path, written=True)
    if spec.report is not None:
        yield Named(("report",), spec.report, stays=True, shared=False)
    if spec.state is not None:
        yield Named(("state",), spec.state, stays=True)


def _keys(place: Place, cluster: KafkaCluster) -> Iterator[Named]:
    for name in ("ca", "certificate", "key"):
        if (path := getattr(cluster.security, name)) is not None:
            yield Named((*place, "security", name), path, stays=True)


def mistaken(spec: JobSpec) -> Iterator[Problem]:
    """Paths and URLs that do not mean what they say, or that this version cannot use where they stand."""
    for named in paths(spec):
        if (why := mistake(named.text)) is not None:
            yield Problem(named.place, f"{why}, is {shown(named.text)}")
        elif named.stays and not is_local(named.text):
            rule = f"must be a path of this machine, for this version does not serve {scheme(named.text)}:// here"
            yield Problem(named.place, f"{rule}, is {shown(named.text)}")
        elif named.written and (why := unwritable(named.text)) is not None:
            yield Problem(named.place, why)
    for index, sink in enumerate(spec.sinks):
        if isinstance(sink, ParquetSinkSpec | KafkaSinkSpec):
            continue
        if (why := unusable(sink.sql.url)) is not None:
            yield Problem(("sinks", index, "sql", "url"), why)
        elif sink.sql.schema_name is not None and (why := unusable_schema(sink.sql.url, sink.sql.schema_name)):
            yield Problem(("sinks", index, "sql", "schema"), why)

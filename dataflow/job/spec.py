"""The job: every stage's specification, composed."""

from datetime import timedelta
from typing import Annotated, Any, Final

from pydantic import ByteSize, Field

from transforms.collection.sources import SourceSpec, kind_of
from transforms.collection.spec import RecordSpec
from transforms.model.aggregation import Aggregation as Aggregation
from transforms.preprocessing.spec import StepSpec
from transforms.specification import ONE_OR_MORE, Duration, Size, Spec, Whole
from transforms.storage.sinks import SinkSpec
from transforms.storage.spec import DeadLettersSpec
from transforms.time.watermark import WatermarkSpec

SHARDS: Final = 8
LIVE_SHARDS: Final = 2


class ExecutionSpec(Spec):
    """How the work is divided; the results never depend on it.

    `shards`: ways in which the keys of an aggregation are divided; by default 8, and 2 in a live job. `range`: bytes
    of text read at a time.
    `batch_rows`: the most rows of a batch; by default what a range holds. `threads`: blocks that a worker parses
    at once; by default as many as it has cores. `checkpoint`: how long a live job waits between two checkpoints.
    """

    shards: Whole | None = Field(default=None, ge=1, le=4096)
    range: Size = Field(default=ByteSize(8 << 20), ge=1, le=1 << 30)
    batch_rows: Whole | None = Field(default=None, ge=1)
    threads: Whole | None = Field(default=None, ge=1, le=256)
    checkpoint: Duration = timedelta(seconds=10)

    @property
    def bounded_shards(self) -> int:
        """The shards of a bounded run."""
        return self.shards or SHARDS

    @property
    def live_shards(self) -> int:
        """The shards of a live job, and of a bounded run that resumes from its checkpoint or makes one."""
        return self.shards or LIVE_SHARDS


class JobSpec(Spec):
    """A job file."""

    job: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$")
    plugins: Annotated[tuple[str, ...], ONE_OR_MORE] = ()
    source: SourceSpec
    record: RecordSpec
    preprocess: tuple[StepSpec, ...] = ()
    aggregations: tuple[Aggregation, ...] = Field(min_length=1)
    watermark: WatermarkSpec = WatermarkSpec()
    sinks: tuple[SinkSpec, ...] = Field(min_length=1)
    dead_letters: DeadLettersSpec = DeadLettersSpec()
    retention: dict[str, Duration] = Field(default_factory=dict)
    report: str | None = None
    state: str | None = None
    execution: ExecutionSpec = ExecutionSpec()

    @property
    def is_endless(self) -> bool:
        """Whether its source has no end, so that it can run live and records can be late."""
        return kind_of(self.source).follows


def rebuild() -> None:
    """Lets job files name the kinds that plugins have registered."""
    Aggregation.model_rebuild(force=True)
    JobSpec.model_rebuild(force=True)


def schema() -> dict[str, Any]:
    """The JSON schema of the job file."""
    published = JobSpec.model_json_schema()
    published["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    published["title"] = "Streamgauge job"
    return published

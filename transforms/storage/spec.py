"""Where tables go, as the job file writes it."""

from typing import Annotated, Any, Final

from pydantic import Discriminator, Field, Tag

from transforms.specification import Number, Spec
from transforms.storage.kafka.spec import KafkaSinkSpec

SCHEMA_PATTERN: Final = "[a-z_][a-z0-9_]{0,62}"
"""Names of schemas that PostgreSQL reads without quotes."""


class ParquetTarget(Spec):
    """A folder; each table is a folder of Parquet files in it."""

    path: str = Field(min_length=1)


class SqlTarget(Spec):
    """A database by its SQLAlchemy URL; secrets come from the environment as `${NAME}`.

    `schema`: of PostgreSQL, the schema that holds the tables, made if it is not there; by default the one that
    `search_path` names first.
    """

    url: str = Field(min_length=1)
    schema_name: str | None = Field(default=None, alias="schema", pattern=f"^{SCHEMA_PATTERN}$")


class ParquetSinkSpec(Spec):
    """Tables as Parquet files."""

    parquet: ParquetTarget


class SqlSinkSpec(Spec):
    """Tables of a SQL database."""

    sql: SqlTarget


SINKS: Final = {"parquet": ParquetSinkSpec, "sql": SqlSinkSpec, "kafka": KafkaSinkSpec}


def sink_name(value: Any) -> str | None:
    """The kind of a sink, as written or as validated."""
    if isinstance(value, Spec):
        return next(iter(type(value).model_fields))
    if isinstance(value, dict) and len(value) == 1:
        name = str(next(iter(value)))
        return name if name in SINKS else None
    return None


SinkSpec = Annotated[
    Annotated[ParquetSinkSpec, Tag("parquet")]
    | Annotated[SqlSinkSpec, Tag("sql")]
    | Annotated[KafkaSinkSpec, Tag("kafka")],
    Discriminator(
        sink_name,
        custom_error_type="unknown_sink",
        custom_error_message="must be a mapping with one of " + ", ".join(SINKS),
    ),
]


FAIL_ABOVE: Final = 0.5
"""Where more records than not are refused, the job file is wrong rather than the data."""


class DeadLettersSpec(Spec):
    """Where dead letters go, and how many are too many.

    `fail_above` is a share of the records read; above it a run publishes nothing and ends with exit code 3.
    """

    path: str | None = None
    fail_above: Number = Field(default=FAIL_ABOVE, ge=0, le=1)

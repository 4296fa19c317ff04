"""The `record` of a job file: what a record is."""

from datetime import timedelta
from typing import Any, Final, Literal

from pydantic import ByteSize, Field, model_validator

from transforms.record.batch import RESERVED
from transforms.specification import ColumnType, Duration, Size, Spec
from transforms.time.zone import TimeZone

LONGEST_LINE: Final = 64 << 20
"""The most bytes of a line that a reader keeps: a file without a newline must not be held in memory whole."""


class Column(Spec):
    """A column's type, and whether it may be null, which the job file writes as `float64?`."""

    type: ColumnType
    nullable: bool = False

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"type": value.removesuffix("?"), "nullable": value.endswith("?")}
        return value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^(string|int64|float64|bool|timestamp)\??$"}

    def __str__(self) -> str:
        return self.type + ("?" if self.nullable else "")


class EventTimeSpec(Spec):
    """Where a record's event time is: a timestamp column, or a number in a `unit` since the epoch."""

    column: str
    format: Literal["iso8601"] | None = None
    unit: Literal["s", "ms", "us", "ns"] | None = None
    time_zone: TimeZone = "UTC"

    @model_validator(mode="after")
    def _format_or_unit(self) -> "EventTimeSpec":
        if self.format is not None and self.unit is not None:
            raise ValueError("event_time must not have both `format` and `unit`")
        return self

    def typed(self, found: Column) -> Column:
        """A column of a Parquet file as event time: text without a unit is a timestamp; it may not be null."""
        is_text = self.unit is None and found.type == "string"
        return Column(type="timestamp" if is_text else found.type)


class RecordSpec(Spec):
    """What a record is: its event time, its columns, and the limits beyond which a record is refused."""

    event_time: EventTimeSpec
    columns: dict[str, Column] | None = Field(default=None, min_length=1)
    unknown_fields: Literal["ignore", "dead_letter"] = "ignore"
    max_line: Size = Field(default=ByteSize(1 << 20), gt=0, le=LONGEST_LINE)
    max_future: Duration | None = timedelta(hours=1)

    @model_validator(mode="after")
    def _event_time_column(self) -> "RecordSpec":
        if self.columns is None:
            return self
        time, named = self.event_time, self.columns.get(self.event_time.column)
        for name in self.columns:
            if name in RESERVED or not name:
                raise ValueError(f"columns must not be named {name!r}, which is reserved")
        if named is None:
            raise ValueError(f"event_time.column must be one of `columns`, is {time.column}")
        if named.nullable:
            raise ValueError(f"event_time.column must not be null: write {named.type}, not {named}")
        if time.unit is None and named.type != "timestamp":
            raise ValueError(f"event_time.column must be a timestamp, or have a `unit`; {time.column} is {named.type}")
        if time.unit is not None and named.type not in ("int64", "float64"):
            raise ValueError(f"event_time.unit needs an int64 or float64 column; {time.column} is {named.type}")
        return self

"""A Kafka topic as a source: which topic, from where, and the format of its values."""

import re
from datetime import datetime, timezone
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from transforms.specification import Spec
from transforms.systems.kafka import TOPIC, KafkaCluster
from transforms.systems.schema_registry import RegistrySpec, check_registry


class KafkaSpec(KafkaCluster):
    """A Kafka topic: read to its present end, or for ever with `--streaming`.

    `start`: where a job without a checkpoint begins: `earliest`, `latest`, or a time with a UTC offset, by the
    messages' timestamps. `group`: the consumer group whose offsets follow the checkpoints, for tools that show lag;
    by default `streamgauge-` and the job's name. `format`: the format of a message's value.
    """

    topic: str
    group: str | None = Field(default=None, min_length=1)
    start: str = "earliest"
    format: Literal["jsonl", "avro"] = "jsonl"
    schema_registry: RegistrySpec | None = None

    @field_validator("topic")
    @classmethod
    def _topic_name(cls, value: str) -> str:
        if not TOPIC.fullmatch(value):
            raise ValueError(f"must be a topic: up to 249 of A-Z a-z 0-9 . _ -, is {value!r}")
        return value

    @field_validator("start", mode="before")
    @classmethod
    def _start(cls, value: Any) -> str:
        if value in ("earliest", "latest"):
            return str(value)
        time = value
        if isinstance(value, str):
            try:
                time = datetime.fromisoformat(re.sub(r"[zZ]$", "+00:00", value.strip()))
            except ValueError:
                time = None
        if not isinstance(time, datetime) or time.tzinfo is None:
            raise ValueError(
                f"must be earliest, latest, or a time with an offset such as 2026-01-31T00:00:00Z, is {str(value)!r}"
            )
        return time.astimezone(timezone.utc).isoformat()

    @model_validator(mode="after")
    def _registry_for_avro(self) -> "KafkaSpec":
        check_registry(self.format, self.schema_registry)
        return self

    @property
    def start_ms(self) -> int | None:
        """The start time in ms since the epoch; None: at one end of the topic."""
        if self.start in ("earliest", "latest"):
            return None
        return int(datetime.fromisoformat(self.start).timestamp() * 1000)


class KafkaSourceSpec(Spec):
    """A topic, as the job file writes it."""

    kafka: KafkaSpec

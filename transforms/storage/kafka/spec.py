"""Topics of Kafka as a sink, as the job file writes them."""

import re
from typing import Final, Literal

from pydantic import field_validator, model_validator

from transforms.specification import Spec
from transforms.systems.kafka import TOPIC, KafkaCluster
from transforms.systems.schema_registry import RegistrySpec, check_registry

_TEMPLATE: Final = re.compile(r"[A-Za-z0-9._-]*\{table\}[A-Za-z0-9._-]*")


class KafkaTarget(KafkaCluster):
    """A topic for each table, `{table}` standing for its name: a transaction a checkpoint.

    Keys are JSON, values JSON or Avro. Missing topics are made with the brokers' default settings.
    """

    topic: str = "{table}"
    format: Literal["json", "avro"] = "json"
    schema_registry: RegistrySpec | None = None

    @field_validator("topic")
    @classmethod
    def _template(cls, value: str) -> str:
        if not _TEMPLATE.fullmatch(value):
            raise ValueError(f"must hold {{table}} once, and else only A-Z a-z 0-9 . _ -, is {value!r}")
        return value

    @model_validator(mode="after")
    def _registry_for_avro(self) -> "KafkaTarget":
        check_registry(self.format, self.schema_registry)
        return self

    def topic_of(self, table: str) -> str:
        """The topic of a table.

        Raises:
            ValueError: if the table's name cannot be part of a topic's.
        """
        name = self.topic.replace("{table}", table)
        if not TOPIC.fullmatch(name):
            raise ValueError(f"the table {table} cannot be a topic: a name is up to 249 of A-Z a-z 0-9 . _ -")
        return name


class KafkaSinkSpec(Spec):
    """Tables as topics."""

    kafka: KafkaTarget

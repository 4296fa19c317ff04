"""A schema registry, for sources and sinks: its address and credentials, and its client."""

import importlib
import re
from contextlib import suppress
from functools import cache
from typing import Any, Final

from pydantic import Field, field_validator, model_validator

from transforms.specification import Spec
from transforms.systems.kafka import KafkaUnusable, client_module, secret, variable_name

_URL: Final = re.compile(r"https?://[^\s@]+")


class RegistrySpec(Spec):
    """A schema registry with Confluent's API: `password_env` names an environment variable; `ca`, `certificate` and
    `key` are paths."""

    url: str
    username: str | None = Field(default=None, min_length=1)
    password_env: str | None = None
    ca: str | None = Field(default=None, min_length=1)
    certificate: str | None = Field(default=None, min_length=1)
    key: str | None = Field(default=None, min_length=1)

    @field_validator("url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not _URL.fullmatch(value):  # not quoted: it may contain a password
            raise ValueError("must be an http:// or https:// address, without a user or password in it")
        return value.rstrip("/")

    @field_validator("password_env")
    @classmethod
    def _variable(cls, value: str | None) -> str | None:
        return variable_name(value)

    @model_validator(mode="after")
    def _pairs(self) -> "RegistrySpec":
        for one, other in (("username", "password_env"), ("certificate", "key")):
            if (getattr(self, one) is None) != (getattr(self, other) is None):
                raise ValueError(f"schema_registry.{one} and schema_registry.{other} go together")
        return self


def check_registry(format_name: str, registry: RegistrySpec | None) -> None:
    """Checks that a registry is given for Avro, and only for Avro; ValueError otherwise."""
    if format_name == "avro" and registry is None:
        raise ValueError("schema_registry is required with format avro")
    if format_name != "avro" and registry is not None:
        raise ValueError(f"schema_registry goes with format avro, not {format_name}")


def registry_client(spec: RegistrySpec) -> Any:
    """A client that asks once and raises each error.

    Raises:
        KafkaUnusable: if the specification does not yield a client.
    """
    try:
        return client_module(".schema_registry").SchemaRegistryClient(_settings(spec))
    except (KafkaUnusable, ValueError, OSError) as error:
        raise KafkaUnusable(f"the schema registry {spec.url} cannot be used: {error}") from None


def registry_schema(text: str) -> Any:
    """An Avro schema as an object of the client."""
    return client_module(".schema_registry").Schema(text, "AVRO")


def registry_errors() -> Any:
    """The exception that the client raises if the registry answers with an error."""
    return client_module(".schema_registry").SchemaRegistryError


@cache
def unreachable() -> tuple[type[Exception], ...]:
    """The exceptions that the registry's client raises if the registry does not answer: those of its HTTP library."""
    errors: list[type[Exception]] = [OSError]
    for name in ("httpx2", "httpx"):  # its version decides which one it uses
        with suppress(ImportError):
            errors.append(importlib.import_module(name).HTTPError)
    return tuple(errors)


def _settings(spec: RegistrySpec) -> dict[str, Any]:
    password = secret(spec.password_env, "schema_registry.password_env")
    written = {
        "url": spec.url,
        "basic.auth.user.info": None if password is None else f"{spec.username}:{password}",
        "ssl.ca.location": spec.ca,
        "ssl.certificate.location": spec.certificate,
        "ssl.key.location": spec.key,
        "max.retries": 0,
    }
    return {name: value for name, value in written.items() if value is not None}

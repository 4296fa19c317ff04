"""How to reach Kafka: brokers, security and other client settings, the same for reading and writing.

Secrets are in the environment, never in a specification: it names the variable, and the value is read when a client
is created.
"""

import importlib
import logging
import os
import re
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from types import ModuleType
from typing import Any, Final, Literal

from pydantic import Field, field_validator, model_validator

from transforms.location import NamedPath
from transforms.specification import Spec

_SECRETS: Final = {
    "sasl.password": "security.password_env",
    "ssl.key.password": "security.key_password_env",
}
_OWNED: Final = {
    "bootstrap.servers": "brokers",
    "metadata.broker.list": "brokers",
    "group.id": "group",
    "security.protocol": "security.protocol",
    "sasl.mechanism": "security.mechanism",
    "sasl.mechanisms": "security.mechanism",
    "sasl.username": "security.username",
    "ssl.ca.location": "security.ca",
    "ssl.certificate.location": "security.certificate",
    "ssl.key.location": "security.key",
    **_SECRETS,
}
"""Settings that have a field in the specification."""

_FIXED: Final = frozenset(
    {
        *("acks", "request.required.acks", "auto.commit.enable", "auto.commit.interval.ms", "auto.offset.reset"),
        *("enable.auto.commit", "enable.auto.offset.store", "enable.idempotence", "enable.partition.eof"),
        *("group.instance.id", "group.protocol", "isolation.level", "offset.store.method", "transactional.id"),
    }
)
"""Settings on which exactly-once depends."""

_RUNS: Final = re.compile(
    r".*_cb|logger|on_commit|on_delivery|.*\.library\.paths|ssl\.engine\..*|ssl\.providers|.*\.cmd"
)
"""Settings that would call, run or load something."""

TOPIC: Final = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,249}")
"""A topic's whole name must match this."""

_OTHER_SECRETS: Final = re.compile(r"(?:^|\.)(?:password|secret|token|pem)$|oauthbearer\.config$")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_ADDRESS: Final = re.compile(r"(?:[a-z_]+://)?(?:\[[0-9A-Fa-f:]+\]|[^\s:,/\[\]]+):([0-9]{1,5})", re.IGNORECASE)


MOVING: Final = ("LEADER_NOT_AVAILABLE", "NOT_LEADER_FOR_PARTITION", "UNKNOWN_TOPIC_OR_PART")
"""Errors that brokers return at once while a partition moves; for other transient errors the client itself waits."""

_AGAIN_SECONDS: Final = 0.1


class KafkaUnusable(Exception):
    """A client cannot be created: says what is missing or wrong, and never the secret itself."""


def variable_name(value: str | None) -> str | None:
    """The value, if it is a valid name of an environment variable; ValueError otherwise."""
    # The message does not quote it: a user may have written the password itself.
    if value is not None and not _NAME.fullmatch(value):
        raise ValueError("must be the name of an environment variable, such as KAFKA_PASSWORD")
    return value


class KafkaSecurity(Spec):
    """How broker and client authenticate each other; paths are on the machine that reads or writes.

    `password_env` and `key_password_env` name environment variables.
    """

    protocol: Literal["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"] = "plaintext"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = Field(default=None, min_length=1)
    password_env: str | None = None
    ca: str | None = Field(default=None, min_length=1)
    certificate: str | None = Field(default=None, min_length=1)
    key: str | None = Field(default=None, min_length=1)
    key_password_env: str | None = None

    @field_validator("protocol", mode="before")
    @classmethod
    def _any_case(cls, value: Any) -> Any:
        return value.lower() if isinstance(value, str) else value

    @field_validator("password_env", "key_password_env")
    @classmethod
    def _variable(cls, value: str | None) -> str | None:
        return variable_name(value)

    @model_validator(mode="after")
    def _fits_the_protocol(self) -> "KafkaSecurity":
        sasl = {"mechanism": self.mechanism, "username": self.username, "password_env": self.password_env}
        for name, value in sasl.items():
            if self.protocol.startswith("sasl") and value is None:
                raise ValueError(f"security.{name} is required with protocol {self.protocol}")
            if not self.protocol.startswith("sasl") and value is not None:
                raise ValueError(f"security.{name} goes with protocol sasl_ssl or sasl_plaintext, not {self.protocol}")
        tls = {
            "ca": self.ca,
            "certificate": self.certificate,
            "key": self.key,
            "key_password_env": self.key_password_env,
        }
        for name, value in tls.items():
            if not self.protocol.endswith("ssl") and value is not None:
                raise ValueError(f"security.{name} goes with protocol ssl or sasl_ssl, not {self.protocol}")
        if (self.certificate is None) != (self.key is None):
            raise ValueError("security.certificate and security.key go together")
        if self.key_password_env is not None and self.key is None:
            raise ValueError("security.key_password_env goes with security.key")
        return self

    def settings(self) -> dict[str, str]:
        """The client's settings, secrets included.

        Raises:
            KafkaUnusable: if an environment variable is not set.
        """
        written = {
            "security.protocol": self.protocol,
            "sasl.mechanism": self.mechanism,
            "sasl.username": self.username,
            "sasl.password": secret(self.password_env, "security.password_env"),
            "ssl.ca.location": self.ca,
            "ssl.certificate.location": self.certificate,
            "ssl.key.location": self.key,
            "ssl.key.password": secret(self.key_password_env, "security.key_password_env"),
        }
        return {name: value for name, value in written.items() if value is not None}


class KafkaCluster(Spec):
    """Where the brokers are and how to talk to them.

    `brokers`: `host:port`, several separated by commas. `settings`: librdkafka's settings, by their own names, for
    which there is no field here.
    """

    brokers: str
    security: KafkaSecurity = KafkaSecurity()
    settings: dict[str, str | int | float | bool] = Field(default_factory=dict)

    @field_validator("brokers")
    @classmethod
    def _addresses(cls, value: str) -> str:
        for address in value.split(","):
            found = _ADDRESS.fullmatch(address.strip())
            if found is None or not 0 < int(found[1]) < 65536:
                raise ValueError(f"must be host:port, several separated by commas, is {address.strip()!r}")
        return value

    @field_validator("settings")
    @classmethod
    def _not_ours(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name in value:
            if name in _OWNED:
                raise ValueError(f"must not have {name}: write {_OWNED[name]}")
            if name in _FIXED:
                raise ValueError(f"must not have {name}, on which exactly-once and the checkpoints depend")
            if _RUNS.fullmatch(name):
                raise ValueError(f"must not have {name}, which would run or load something")
            if _OTHER_SECRETS.search(name):
                raise ValueError(f"must not have {name}: a job file must not hold secrets")
        return value

    def client_settings(self) -> dict[str, Any]:
        """The settings of a client, secrets included; settings for a kind of client take precedence over them.

        Raises:
            KafkaUnusable: if a secret is not in the environment.
        """
        ours = {"log_level": 0, "client.id": "streamgauge"}
        return {**ours, **self.settings, "bootstrap.servers": self.brokers, **self.security.settings()}

    def places_of(self, topic: str) -> frozenset[Hashable]:
        """What two topics have in common if they are one: a broker, and their name."""
        return frozenset(("kafka", address.strip().lower(), topic) for address in self.brokers.split(","))

    def key_files(self, field: tuple[str | int, ...]) -> Iterator[NamedPath]:
        """The files of certificates and keys, each with its field, which lies in `field`."""
        for name in ("ca", "certificate", "key"):
            if (path := getattr(self.security, name)) is not None:
                yield NamedPath((*field, "security", name), path, stays=True)


def secret(variable: str | None, field: str) -> str | None:
    """The value of an environment variable that `field` names.

    Raises:
        KafkaUnusable: if it is not set.
    """
    if variable is None:
        return None
    value = os.environ.get(variable)
    if not value:
        raise KafkaUnusable(f"{field}: the environment variable {variable} is not set")
    return value


def client_module(name: str = "") -> ModuleType:
    """The Kafka client's package, or a module of it; an extra of this package installs it.

    Raises:
        KafkaUnusable: if it is not installed.
    """
    try:
        return importlib.import_module(f"confluent_kafka{name}")
    except ImportError as error:
        raise KafkaUnusable(f"Kafka needs the extra `kafka`: pip install 'streamgauge[kafka]' ({error})") from None


def open_client(kind: str, settings: Mapping[str, Any], hear: Callable[[Any], None]) -> Any:
    """A Consumer or Producer.

    Args:
        hear: receives the client's errors that it retries by itself.

    Raises:
        KafkaUnusable: if a setting is wrong.
    """
    module = client_module()
    try:
        return getattr(module, kind)({**settings, "error_cb": hear}, logger=_SILENT)
    except (module.KafkaException, TypeError, ValueError) as error:
        raise KafkaUnusable(f"the client's settings are refused: {message_of(error)}") from None


def answered(ask: Callable[[float], Any], deadline: float) -> Any:
    """The brokers' answer; the question is repeated while a partition moves from one broker to another.

    Args:
        ask: takes the seconds that remain, and raises the client's exception.
        deadline: by the monotonic clock.
    """
    module = client_module()
    moving = {getattr(module.KafkaError, name) for name in MOVING}
    while True:
        try:
            return ask(max(deadline - time.monotonic(), _AGAIN_SECONDS))
        except (module.KafkaException, SystemError) as raised:
            error = own_exception(raised)
            if error.args[0].code() not in moving or time.monotonic() > deadline:
                raise error from None
        time.sleep(_AGAIN_SECONDS)


def own_exception(error: Exception) -> Exception:
    """The client's exception, also where Python hides it in a SystemError.

    A fatal error and its line of the client's log can arrive in one call: then Python complains that the log was called
    while an exception was on its way.
    """
    cause = error.__cause__
    if isinstance(error, SystemError):
        if not isinstance(cause, client_module().KafkaException):
            raise error
        return cause
    return error


def message_of(error: Any) -> str:
    """An error's message, in the client's own words."""
    inside = error.args[0] if isinstance(error, Exception) and error.args else error
    return str(inside.str() if hasattr(inside, "str") else inside)


_SILENT: Final = logging.getLogger("streamgauge.kafka")
"""librdkafka's log messages are discarded: its errors reach the caller in other ways."""
_SILENT.addHandler(logging.NullHandler())
_SILENT.propagate = False

"""A schema registry: each schema is fetched once by its number. An unreachable registry is retried."""

import threading
import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from transforms.errors import SourceError
from transforms.process.progress import Bulletin
from transforms.systems.kafka import KafkaUnusable
from transforms.systems.schema_registry import RegistrySpec, registry_client, registry_errors, unreachable

PATIENCE_SECONDS: Final = 900.0
"""How long a registry may be unreachable before the job gives up: as long as a sink may."""

_NOT_FOUND: Final = 404
_DENIED: Final = (401, 403)


class Unreadable(Exception):
    """A message that cannot be decoded, and why: it becomes a dead letter and does not fail the job."""


@dataclass(frozen=True, slots=True)
class Registered:
    """An Avro schema as text, and the schemas that it refers to, each after those that it needs."""

    text: str
    references: tuple[str, ...] = ()


class Registry:
    """The schemas of one registry; any thread may use it."""

    def __init__(self, spec: RegistrySpec, bulletin: Bulletin | None = None, *, patience: float = PATIENCE_SECONDS):
        """Raises SourceError if the registry cannot be used as specified."""
        self._url = spec.url
        self._patience = patience
        self._bulletin = bulletin if bulletin is not None else Bulletin()
        self._lock = threading.Lock()
        try:
            self._client = registry_client(spec)
        except KafkaUnusable as error:
            raise SourceError(str(error)) from None

    def schema(self, number: int) -> Registered:
        """The schema with this number.

        Raises:
            Unreadable: if there is no such schema, or it is not Avro.
            SourceError: if the registry refuses the request, or was unreachable for `patience` seconds.
        """
        with self._lock:
            found = self._patiently(lambda: self._client.get_schema(number))
            if found is None:
                raise Unreadable(f"schema {number} is not in the registry")
            if found.schema_type != "AVRO":
                raise Unreadable(f"schema {number} of the registry is {found.schema_type}, not AVRO")
            references: dict[tuple[str, int], str] = {}
            self._collect(found, references)
            return Registered(found.schema_str, tuple(references.values()))

    def _collect(self, schema: Any, references: dict[tuple[str, int], str]) -> None:
        for reference in schema.references or ():
            place = (reference.subject, reference.version)
            if place in references:
                continue
            found = self._patiently(lambda place=place: self._client.get_version(*place))
            if found is None:
                raise Unreadable(f"version {place[1]} of {place[0]}, which a schema refers to, is not in the registry")
            self._collect(found.schema, references)
            references[place] = found.schema.schema_str

    def _patiently(self, ask: Any) -> Any:
        """The registry's answer; None if it has no such item."""
        began, pause, said = time.monotonic(), 0.1, ""
        while True:
            try:
                answer = ask()
            except registry_errors() as error:
                if error.http_status_code == _NOT_FOUND:
                    answer = None
                elif error.http_status_code in _DENIED:
                    raise SourceError(
                        f"the schema registry {self._url} refuses access: {error.error_message}"
                    ) from None
                else:
                    said = f"the schema registry {self._url} fails: {error.error_message}"
                    pause = self._wait(began, pause, said)
                    continue
            except unreachable() as error:
                said = f"the schema registry {self._url} cannot be reached: {error}"
                pause = self._wait(began, pause, said)
                continue
            self._bulletin.replace_trouble(said)
            return answer

    def _wait(self, began: float, pause: float, said: str) -> float:
        if time.monotonic() - began + pause > self._patience:
            raise SourceError(said)
        self._bulletin.replace_trouble(said, said)
        time.sleep(pause)
        return min(2 * pause, 5.0)


@lru_cache(maxsize=8)
def open_registry(spec: RegistrySpec, bulletin: Bulletin | None) -> Registry:
    """The registry, opened once per run and process."""
    return Registry(spec, bulletin)

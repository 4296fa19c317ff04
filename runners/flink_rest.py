"""Flink's REST API: queries about a cluster's jobs, and operations on them.

https://nightlies.apache.org/flink/flink-docs-release-1.19/docs/ops/rest_api/
"""

import json
import os
import secrets
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final, TypeVar

from runners.failures import is_of_savepoint, root_cause

T = TypeVar("T")

ANSWER_SECONDS: Final = 20.0
"""How long an answer may take; starting a job first runs its main program, and has a separate limit."""

START_SECONDS: Final = 180.0
ENDED: Final = ("FINISHED", "CANCELED", "FAILED")
_PAUSE_SECONDS: Final = 0.2
_MOST_RESTARTS: Final = 3
_RESTART_SECONDS: Final = 15.0
"""How often, and for how long, a job may fail before it runs: its workers may still be starting."""

_PIECE_BYTES: Final = 1 << 20


class FlinkError(ValueError):
    """A cluster that does not answer, or refuses a request; says which."""


class NoSuchJob(FlinkError):
    """The cluster does not know the job."""


class FlinkJobFailed(FlinkError):
    """The job itself failed; says why."""


class SavepointUnfit(FlinkJobFailed):
    """The job did not start, because its savepoint belongs to another job or does not exist."""


def job_failed(why: str) -> FlinkJobFailed:
    """The failure of a job, as an error whose class depends on the reason."""
    return (SavepointUnfit if is_of_savepoint(why) else FlinkJobFailed)(why)


@dataclass(frozen=True, slots=True)
class Overview:
    """A cluster: its version of Flink, and its slots."""

    version: str
    slots: int
    free: int
    task_managers: int


@dataclass(frozen=True)
class Flink:
    """A cluster, by the address of its REST API: HOST:PORT or a URL."""

    address: str

    def __post_init__(self) -> None:
        parts = urllib.parse.urlsplit(self._url)
        try:
            valid = bool(parts.hostname and parts.port)
        except ValueError:
            valid = False
        if not valid:
            raise FlinkError(f"{self.address} is not the address of a Flink cluster, HOST:PORT")

    @property
    def _url(self) -> str:
        return self.address if "://" in self.address else f"http://{self.address}"

    def overview(self) -> Overview:
        """The facts about the cluster.

        Raises:
            FlinkError: if there is no answer, or the answer is not Flink's.
        """
        found = self._get("overview")
        try:
            return Overview(
                found["flink-version"], found["slots-total"], found["slots-available"], found["taskmanagers"]
            )
        except (KeyError, TypeError):
            raise FlinkError(f"{self.address} answers, but is not Flink") from None

    def slots_of_each(self) -> list[int]:
        """The slots of each TaskManager."""
        return [int(manager["slotsNumber"]) for manager in self._get("taskmanagers")["taskmanagers"]]

    def jobs(self) -> list[dict[str, Any]]:
        """Every job that the cluster remembers: `jid`, `name`, `state`, `start-time`, `duration`."""
        return list(self._get("jobs/overview")["jobs"])

    def state(self, job: str) -> str:
        """The state of a job.

        Raises:
            NoSuchJob: if the cluster does not know it.
        """
        return str(self._get(f"jobs/{job}/status", job)["status"])

    def job(self, job: str) -> dict[str, Any]:
        """A job with its vertices."""
        return dict(self._get(f"jobs/{job}", job))

    def checkpoints(self, job: str) -> dict[str, Any]:
        """Counts, the latest, and a history of a job's checkpoints and savepoints."""
        return dict(self._get(f"jobs/{job}/checkpoints", job))

    def restarts(self, job: str) -> int:
        """How often the cluster restarted a job, as far as it remembers."""
        found = self._get(f"jobs/{job}/metrics?get=numRestarts", job)
        counted = int(float(found[0]["value"])) if found else 0
        # The metric appears late; of failures only the newest are listed.
        return max(counted, len(self._failures(job)))

    def _failures(self, job: str) -> list[Any]:
        return list(self._get(f"jobs/{job}/exceptions", job).get("exceptionHistory", {}).get("entries", []))

    def failure(self, job: str) -> tuple[float, str] | None:
        """When a job, or a part of it, last failed (s), and why."""
        entries = self._failures(job)
        return (entries[0]["timestamp"] / 1e3, root_cause(entries[0]["stacktrace"])) if entries else None

    def upload(self, jar: str) -> str:
        """Uploads a jar; returns its name on the cluster."""
        boundary = secrets.token_hex(16)
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="jarfile"; filename="job.jar"\r\n'
            "Content-Type: application/x-java-archive\r\n\r\n"
        ).encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(head) + os.path.getsize(jar) + len(tail)),
        }
        found = self._ask("POST", "jars/upload", _pieces(head, jar, tail), headers, START_SECONDS)
        return str(found["filename"]).rpartition("/")[2]

    def start(self, jar: str, settings: Mapping[str, Any]) -> str:
        """Runs an uploaded jar; returns the job's id."""
        return str(self._post(f"jars/{jar}/run", settings, seconds=START_SECONDS)["jobid"])

    def forget_jar(self, jar: str) -> None:
        """Removes an uploaded jar."""
        self._ask("DELETE", f"jars/{jar}")

    def savepoint(self, job: str, folder: str | None, seconds: float) -> str:
        """Takes a savepoint of a job, which keeps running; returns its path."""
        asked = {"target-directory": folder, "cancel-job": False}
        request = self._post(f"jobs/{job}/savepoints", _given(asked), job)["request-id"]
        return self._savepoint_of(job, request, seconds)

    def savepoints(self, job: str) -> list[tuple[str, str]]:
        """The savepoints of a job that the cluster remembers, oldest first: where each is, and when it was taken.

        Raises:
            NoSuchJob: if the cluster does not know the job.
        """
        found = self.checkpoints(job)
        latest = found.get("latest", {}).get("savepoint")
        taken = {
            str(entry["external_path"]): int(entry["trigger_timestamp"])
            for entry in (*found.get("history", []), *([latest] if latest else []))
            if entry["is_savepoint"] and entry["status"] == "COMPLETED" and entry.get("external_path")
        }
        return [(path, _moment(at)) for path, at in sorted(taken.items(), key=lambda entry: entry[1])]

    def stop(self, job: str, folder: str | None, seconds: float) -> str:
        """Stops a job with a savepoint; returns its path."""
        asked = {"targetDirectory": folder, "drain": False}
        request = self._post(f"jobs/{job}/stop", _given(asked), job)["request-id"]
        location = self._savepoint_of(job, request, seconds)
        self.wait_for(job, ENDED, seconds)
        return location

    def cancel(self, job: str, seconds: float) -> None:
        """Ends a job at once."""
        if self.state(job) not in ENDED:
            self._ask("PATCH", f"jobs/{job}?mode=cancel", about=job)
            self.wait_for(job, ENDED, seconds)

    def wait_for(self, job: str, states: Iterable[str], seconds: float) -> str:
        """Waits until a job has one of these states; returns the state."""
        wanted = tuple(states)

        def reached() -> str | None:
            state = self.state(job)
            return state if state in wanted else None

        return waited(reached, seconds, lambda: f"job {job} of {self.address} is {self.state(job)}, not {wanted[0]}")

    def wait_until_it_runs(self, job: str, seconds: float) -> None:
        """Waits until every part of a job runs.

        Raises:
            FlinkJobFailed: if it ends instead, or is restarted repeatedly.
        """

        began = time.monotonic()

        def runs() -> bool:
            found = self.job(job)
            if found["state"] in ENDED and found["state"] != "FINISHED":
                raise job_failed(self.why(job, found["state"]))
            if found["state"] == "FINISHED":
                return True
            states = {vertex["status"] for vertex in found["vertices"]}
            if states and states <= {"RUNNING", "FINISHED"}:
                return True
            if time.monotonic() - began > _RESTART_SECONDS and self.restarts(job) >= _MOST_RESTARTS:
                raise job_failed(self.why(job, "restarted repeatedly"))
            return False

        waited(runs, seconds, lambda: self.why(job, f"not running after {seconds:.0f} s"))

    def why(self, job: str, what: str) -> str:
        """The state of a job and its last failure, in a sentence."""
        failure = self.failure(job)
        return f"job {job} of {self.address} is {what}" + (f": {failure[1]}" if failure else "")

    def _savepoint_of(self, job: str, request: str, seconds: float) -> str:
        def taken() -> str | None:
            found = self._get(f"jobs/{job}/savepoints/{request}", job)
            if found["status"]["id"] != "COMPLETED":
                return None
            if "failure-cause" in found["operation"]:
                cause = root_cause(found["operation"]["failure-cause"]["stack-trace"])
                raise FlinkError(f"{self.address}: the savepoint failed: {cause}")
            return str(found["operation"]["location"])

        return waited(taken, seconds, lambda: f"{self.address}: no savepoint after {seconds:.0f} s")

    def _get(self, path: str, about: str = "") -> Any:
        return self._ask("GET", path, about=about)

    def _post(self, path: str, body: Mapping[str, Any], about: str = "", seconds: float = ANSWER_SECONDS) -> Any:
        headers = {"Content-Type": "application/json"}
        return self._ask("POST", path, json.dumps(body).encode(), headers, seconds, about)

    def _ask(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        seconds: float = ANSWER_SECONDS,
        about: str = "",
    ) -> Any:
        request = urllib.request.Request(  # http or https, as the user chose
            f"{self._url}/v1/{path}", data=body, headers=dict(headers or {}), method=method
        )
        local = urllib.parse.urlsplit(self._url).hostname in ("localhost", "127.0.0.1", "::1")
        proxies = urllib.request.ProxyHandler({} if local else None)
        try:
            with urllib.request.build_opener(proxies).open(request, timeout=seconds) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            said = _errors(error.read())
            cause = root_cause(said)
            if about and (error.code == 404 or "FlinkJobNotFoundException" in said):
                raise NoSuchJob(f"{self.address} does not know job {about}") from None
            raise FlinkError(f"{self.address} refuses: {cause or error.reason}") from None
        except (TimeoutError, urllib.error.URLError, OSError) as error:
            reason = getattr(error, "reason", error)
            said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
            raise FlinkError(f"no Flink answers at {self.address}: {said}") from None
        try:
            return json.loads(content) if content else {}
        except ValueError:
            raise FlinkError(f"{self.address} answers, but is not Flink") from None


def waited(found: Callable[[], T | None], seconds: float, otherwise: Callable[[], str]) -> T:
    """The first answer that is not None.

    Raises:
        FlinkError: with the text of `otherwise`, if there is none in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        result = found()
        if result:
            return result
        if time.monotonic() > deadline:
            raise FlinkError(otherwise())
        time.sleep(_PAUSE_SECONDS)


_WORDS_MOST: Final = 400


def _errors(content: bytes) -> str:
    try:
        return "\n".join(json.loads(content)["errors"][-1:]).removeprefix("<Exception on server side:\n")
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")[:_WORDS_MOST]


def _given(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None}


def _moment(millis: int) -> str:
    return datetime.fromtimestamp(millis / 1e3, timezone.utc).isoformat(timespec="seconds")


def _pieces(head: bytes, path: str, tail: bytes) -> Iterator[bytes]:
    yield head
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
    yield tail

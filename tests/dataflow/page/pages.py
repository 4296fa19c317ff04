"""A live page without a job behind it: tests say what the job does."""

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from dataflow.commands.load import load_job
from dataflow.job.plan import Job
from dataflow.page.server import serving
from tests.dataflow.jobs import JSON_LINES, changed, write_job
from transforms.collection.log.writer import LogWriter
from transforms.process.progress import Bulletin

START: Final = datetime(2026, 1, 1, tzinfo=timezone.utc)
LIVE: Final = changed(
    JSON_LINES,
    job="live",
    source={"log": {"path": "log"}},
    aggregations=[
        {
            "name": "by_key",
            "key": ["key"],
            "window": {"size": "1h"},
            "statistics": {"value": ["count", "mean", "max"], "key": ["top2"]},
        },
        {"name": "all", "key": [], "window": {"size": "1d"}, "statistics": {"value": ["mean"]}},
    ],
)


def live_job(folder: Path) -> Job:
    """A job beside an empty log."""
    with closing(LogWriter(str(folder / "log"))):
        return load_job(str(write_job(folder, LIVE)), ())


@dataclass
class Page:
    """A page that is served, and what it is told."""

    url: str
    job: Job
    bulletin: Bulletin

    def close(self, hour: int, *keys: str | None, final: bool = True, mean: float | None = None, **values: Any) -> None:
        """Stores the rows of the hour's window: the mean is the hour, unless it is given."""
        self.show(
            "by_key",
            [
                {
                    "window_start": START + timedelta(hours=hour),
                    "window_end": START + timedelta(hours=hour + 1),
                    "key": key,
                    "rows": 10,
                    "value_count": 9,
                    "value_mean": float(hour) if mean is None else mean,
                    "value_max": float(hour + place),
                    "key_top2": [{"value": key or "-", "count": 3}],
                    "revision": 0,
                    "final": final,
                    **values,
                }
                for place, key in enumerate(keys)
            ],
        )

    def show(self, table: str, rows: list[dict[str, Any]]) -> None:
        self.bulletin.show(table, pa.RecordBatch.from_pylist(rows, schema=self.job.tables[table].schema))

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=20)

    def get(self, path: str, **headers: str) -> tuple[http.client.HTTPResponse, str]:
        with closing(self.connect()) as connection:
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer, answer.read().decode()

    @contextmanager
    def events(self, last_event_id: str | None = None) -> Iterator["Events"]:
        with closing(self.connect()) as connection:
            connection.request("GET", "/events", headers={"Last-Event-ID": last_event_id} if last_event_id else {})
            answer = connection.getresponse()
            assert answer.status == 200
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            yield Events(answer)


class Events:
    """A stream of events as a browser reads it."""

    def __init__(self, answer: http.client.HTTPResponse):
        self._answer = answer
        self.last_id: str | None = None

    def next(self) -> tuple[str, Any]:
        """The next event and its data."""
        name = data = None
        while True:
            line = self._answer.readline()
            assert line, "the stream has ended"
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "data":
                data = value
            elif field == "id":
                self.last_id = value
            elif not field and name is not None and data is not None:
                return name, json.loads(data)

    def wait(self, wanted: str) -> Any:
        """The data of the next event of a name."""
        while True:
            name, data = self.next()
            if name == wanted:
                return data

    def is_over(self) -> bool:
        """Whether the server ends the stream; reads what it still says."""
        while self._answer.readline():
            pass
        return True


@contextmanager
def showing(folder: Path) -> Iterator[Page]:
    """A page on a free port."""
    job, bulletin = live_job(folder), Bulletin()
    with serving(job, "localhost:0", lambda sentence: None, bulletin) as url:
        yield Page(url, job, bulletin)

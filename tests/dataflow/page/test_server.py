"""The page's addresses as programs use them: figures, health, the stream of events, and what is refused."""

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dataflow.errors import UsageError
from dataflow.page import connections
from dataflow.page.connections import CONNECTIONS
from dataflow.page.events import STREAMS
from dataflow.page.server import parse_address, recall, serving
from tests.dataflow.jobs import in_process_of_its_own
from tests.dataflow.page.pages import Page, live_job, showing
from transforms.collection.log.file import Run
from transforms.collection.log.writer import LogWriter
from transforms.process.progress import KEPT, Bulletin
from transforms.record import ledger
from transforms.storage.checkpoint.manifest import Checkpoint


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with showing(tmp_path) as page:
        yield page


def metrics(page: Page) -> dict[tuple[str, ...], float]:
    answer, text = page.get("/metrics")
    assert answer.status == 200
    assert "text/plain" in str(answer.headers["Content-Type"])
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("counter", "gauge")
        for sample in family.samples:
            labels = dict(sample.labels)
            assert labels.pop("job") == "live"
            name = (sample.name.removeprefix("streamgauge_"), *labels.values())
            found[name] = sample.value
    return found


def test_metrics_are_what_the_job_says(page: Page) -> None:
    first = metrics(page)
    assert ("watermark_timestamp_seconds",) not in first, "nothing was read: there is no event time"
    page.bulletin.set(position=70, end=100, watermark=1_767_225_600_000_000, lag_s=0.5, checkpoint=1_795_000_000.0)
    page.bulletin.account({"read": 60, "accepted": 57, "dead": 3, "partly_late": 1}, {"malformed": 2, "late": 1})
    page.close(0, "a", "b")
    found = metrics(page)
    assert found["log_position",] == 70
    assert found["log_end_position",] == 100
    assert found["backlog_records",] == 30
    assert 0.5 <= found["lag_seconds",] < 20
    assert found["watermark_timestamp_seconds",] == 1_767_225_600
    assert found["checkpoint_timestamp_seconds",] == 1_795_000_000
    assert found["ledger_records_total", "accepted"] == 57
    assert found["ledger_records_total", "filtered"] == 0
    assert sum(value for name, value in found.items() if name[0] == "ledger_records_total") == 60
    assert found["dead_letters_total", "malformed"] == 2
    assert found["rows_stored_total", "by_key"] == 2
    assert found["rows_stored_total", "all"] == 0
    assert found["sink_trouble",] == 0


def test_a_job_that_waits_with_unread_records_lags_more_and_more(page: Page) -> None:
    page.bulletin.set(position=1, end=2, lag_s=0.0)
    first = metrics(page)["lag_seconds",]
    assert metrics(page)["lag_seconds",] > first


def test_ready_is_who_reads_and_can_store(page: Page) -> None:
    def ready() -> tuple[int, str]:
        answer, text = page.get("/readyz")
        return answer.status, text.strip()

    assert ready() == (200, "ok"), "an empty log holds nobody up"
    page.bulletin.set(end=5)
    assert ready() == (503, "nothing was read yet")
    page.bulletin.set(position=3, lag_s=0.1)
    assert ready() == (200, "ok")
    page.bulletin.set(trouble="postgresql://db/x: connection refused")
    assert ready() == (503, "postgresql://db/x: connection refused")
    assert metrics(page)["sink_trouble",] == 1
    assert page.get("/healthz")[0].status == 200, "a sink in trouble is no reason to start the job again"
    page.bulletin.set(trouble="")
    assert ready() == (200, "ok")


def test_rows_come_as_they_are_stored_and_go_on_after_the_last_one_seen(page: Page) -> None:
    page.close(0, "a", None)
    with page.events() as events:
        name, state = events.next()
        assert name == "state"
        assert state["stored"] == 2
        first = events.wait("rows")
        assert [(row["table"], row["key"], row["values"]) for row in first] == [
            ("by_key", "a", [10, 9, 0.0, 0.0, "a (3)"]),
            ("by_key", "null", [10, 9, 0.0, 1.0, "- (3)"]),
        ]
        page.close(1, "a")
        assert events.wait("rows")[0]["start"] - first[0]["start"] == 3600
        seen = events.last_id
    page.close(2, "a", "b")
    with page.events(seen) as events:
        assert [row["key"] for row in events.wait("rows")] == ["a", "b"]
    with page.events("another run-3") as events:
        assert len(events.wait("rows")) == 5, "numbers of another run mean nothing here"


def test_what_is_no_number_is_null(page: Page) -> None:
    page.close(0, "a", mean=float("nan"), value_max=float("inf"))
    with page.events() as events:
        assert events.wait("rows")[0]["values"][2:4] == [None, None]


def test_a_browser_that_was_away_too_long_is_told_what_it_missed(page: Page) -> None:
    page.close(0, "a")
    with page.events() as events:
        events.wait("rows")
        seen = events.last_id
    page.show("by_key", [*template(page, KEPT)])
    with page.events(seen) as events:
        assert events.next()[0] == "state"
        assert len(events.wait("rows")) > 0, "one row was forgotten, and this browser had seen it"
    page.show("by_key", [*template(page, 3)])
    with page.events(seen) as events:
        assert [events.next()[0] for _ in range(3)] == ["state", "gap", "rows"]


def template(page: Page, count: int) -> Iterator[dict[str, object]]:
    row = page.bulletin.rows_after(0, 1)[0][2]
    return ({**row, "key": f"k{number}"} for number in range(count))


def test_a_slow_browser_costs_neither_memory_nor_anybody_else(page: Page) -> None:
    page.close(0, "a")
    rows = [*template(page, KEPT)]
    with closing(socket.socket()) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", int(page.url.rsplit(":", 1)[1])))
        slow.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        written = 0
        for _ in range(40):
            page.show("by_key", rows)
            written += len(rows)
            began = time.monotonic()
            assert page.get("/healthz")[0].status == 200
            assert time.monotonic() - began < 5
        slow.settimeout(20)
        said = b""
        last = f"-{page.bulletin.stored}\n".encode()
        while b"event: state" not in said.partition(last)[2]:
            said += slow.recv(1 << 20)
    sent = said.count(b'"table":')
    assert b"event: gap" in said
    assert KEPT <= sent < written / 3, "what it did not take was forgotten, not kept for it"


def test_no_more_than_so_many_browsers_look_at_once(page: Page) -> None:
    connections = []
    try:
        for _ in range(STREAMS):
            connection = page.connect()
            connections.append(connection)
            connection.request("GET", "/events")
            assert connection.getresponse().status == 200
        assert page.get("/events")[0].status == 503
        assert page.get("/healthz")[0].status == 200
    finally:
        for connection in connections:
            connection.close()


@pytest.mark.parametrize(
    "said", [b"", b"GET /metrics HTTP/1.1\r\nX-Slow: ", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"]
)
def test_clients_that_ask_nothing_or_read_nothing_give_way(page: Page, said: bytes) -> None:
    host, port = page.url.removeprefix("http://").split(":")
    with ExitStack() as stack, page.events() as stream:
        for _ in range(CONNECTIONS + 50):
            client = stack.enter_context(closing(socket.socket()))
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            client.connect((host, int(port)))
            client.sendall(said)
        for path in ("/healthz", "/metrics", "/readyz"):
            assert page.get(path)[1], path
        assert page.get("/healthz")[0].status == 200
        page.close(0, "a")
        assert stream.wait("rows"), "a stream does not give way"


def test_a_request_has_a_deadline(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_SECONDS", 0.3)
    host, port = page.url.removeprefix("http://").split(":")
    for said in (b"", b"GET /healthz HTTP/1.1\r\nX-Slow: ", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"):
        with closing(socket.create_connection((host, int(port)), timeout=10)) as client:
            client.sendall(said)
            answer = b""
            while data := client.recv(1 << 16):
                answer += data
            assert answer.startswith(b"HTTP/1.1 200") == said.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("host", ["localhost:8081", "127.0.0.1", "[::1]:8081", "10.0.0.7", "LOCALHOST"])
def test_this_host_by_its_names_and_addresses_is_answered(page: Page, host: str) -> None:
    assert page.get("/", Host=host)[0].status == 200


@pytest.mark.parametrize("path", ["/", "/events"])
@pytest.mark.parametrize("host", ["rebound.example", "localhost.rebound.example:8081", "127.0.0.1.rebound.example", ""])
def test_a_foreign_name_that_points_here_gets_no_data(page: Page, host: str, path: str) -> None:
    answer, text = page.get(path, Host=host)
    assert answer.status == 421
    assert "live" not in text


def test_everything_is_read_only_and_stays_on_the_page(page: Page) -> None:
    for path in ("/", "/metrics", "/healthz", "/readyz"):
        answer, _ = page.get(path)
        policy = str(answer.headers["Content-Security-Policy"])
        assert policy.startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in answer.headers
        for method in ("POST", "PUT", "DELETE"):
            with closing(page.connect()) as connection:
                connection.request(method, path)
                assert connection.getresponse().status == 405
    assert page.get("/docs")[0].status == 404


def test_the_end_of_the_job_ends_every_stream(tmp_path: Path) -> None:
    with showing(tmp_path) as page:
        connection = page.connect()
        connection.request("GET", "/events")
        answer = connection.getresponse()
        assert answer.readline() == b"retry: 1000\n"
        reading = threading.Thread(target=answer.read)
        reading.start()
    reading.join(20)
    assert not reading.is_alive()
    with pytest.raises(ConnectionRefusedError):
        page.get("/healthz")


def test_a_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    live_job(tmp_path)
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        address = f"localhost:{taken.getsockname()[1]}"
        ended = in_process_of_its_own("run", tmp_path / "job.yaml", "--streaming", "--serve", address)
    assert ended.code == 2
    assert ended.message == f"error: --serve {address} is taken; use another port\n"


@pytest.mark.parametrize("text", ["", "8081", "localhost", "localhost:", "localhost:70000", "::1:8081", "a b:1"])
def test_what_is_no_address_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"--serve must be HOST:PORT, such as localhost:8081, is "):
        parse_address(text)


def test_a_host_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    job = live_job(tmp_path)
    with (
        pytest.raises(UsageError, match=r"--serve 192\.0\.2\.1:0 \("),
        serving(job, "192.0.2.1:0", lambda sentence: None, Bulletin()),
    ):
        pass


def test_a_restart_recalls_the_totals_of_before_but_not_what_it_reads_again(tmp_path: Path) -> None:
    job, bulletin = live_job(tmp_path), Bulletin()
    from dataflow.execution.checkpoints import checkpoint_folder
    from transforms.storage.parquet.growing import Showing, append

    with closing(LogWriter(str(tmp_path / "log"))) as writer:
        writer.append([(Run("plain", 1, 9), b"{}\n" * 9)], 1, 1)
    recall(job, bulletin)
    assert (bulletin.position, bulletin.end, bulletin.checkpoint) == (0, 9, None)
    folder = checkpoint_folder(job)
    kept = Checkpoint(1, 2, 0, {"progress": {}, "position": 6}, 1_795_000_000.0)
    claimed = folder.claim("launch")
    folder.commit(claimed, replace(claimed, checkpoints=[kept], at=kept.place))
    (place,) = [folder for sink in job.sinks for folder in sink.folders if folder.endswith("/ledger")]
    books = [ledger.entry("log", first, read=3, accepted=2, dead=1) for first in (0, 3, 6)]
    names = append(place, job.tables["ledger"], books, 1, 1)
    Showing("live", "owner", 1).show(place, names)
    recall(job, bulletin)
    assert (bulletin.position, bulletin.end, bulletin.checkpoint) == (6, 9, 1_795_000_000.0)
    assert bulletin.totals()[0]["read"] == 6
    for anew in (False, True):
        bulletin = Bulletin()
        with serving(job, "127.0.0.1:0", lambda sentence: None, bulletin, from_nothing=anew):
            assert bulletin.totals()[0].get("read", 0) == (0 if anew else 6)


def test_a_bulletin_forgets_the_oldest_rows_of_each_table_alone(page: Page) -> None:
    page.close(0, "a")
    many = [*template(page, KEPT + 7)]
    page.show("all", [{**{name: many[0].get(name) for name in page.job.tables["all"].schema.names}, "value_mean": 1.0}])
    page.show("by_key", many)
    known = page.bulletin.rows_after(0)
    assert len(known) == KEPT + 1
    assert [number for number, table, _ in known if table == "all"] == [2]
    assert [number for number, _, _ in known[1:]] == [*range(10, KEPT + 10)]
    assert page.bulletin.forgotten == 9
    assert json.dumps(page.bulletin.stored_by_table) == json.dumps({"by_key": KEPT + 8, "all": 1})


def test_the_page_asks_nobody_for_anything(page: Page) -> None:
    _, text = page.get("/")
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert "https://" not in text

"""`send`: files as records, once each, in their pace; the client that it uses."""

import gzip
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable
from datetime import datetime, timezone
from functools import partial
from operator import le
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from dataflow.collector.client import Client, ClientError
from dataflow.collector.rows import json_lines
from dataflow.commands.send import source_of
from tests.dataflow.collector.collecting import collecting, logged, numbered, text
from tests.dataflow.jobs import Ended, finished, start, streamgauge
from tests.waiting import until
from transforms.record.payload import as_json

PACKINGS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".zst": zstandard.compress}


def send(port: int, *arguments: str | Path) -> Ended:
    handler = signal.getsignal(signal.SIGTERM)
    try:
        return streamgauge("send", *arguments, "--to", f"127.0.0.1:{port}", "--give-up-after", "5s")
    finally:
        signal.signal(signal.SIGTERM, handler)


def write(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    pack = PACKINGS.get(path.suffix)
    path.write_bytes(data if pack is None else pack(data))
    return path


def test_every_kind_of_file_arrives_line_by_line(tmp_path: Path) -> None:
    rows = pa.table({"n": [1, 2], "s": ['ä"\\\n', None], "f": [1.5, float("nan")]})
    pq.write_table(rows, tmp_path / "rows.parquet")
    files = [
        write(tmp_path, "a.jsonl", b'\xef\xbb\xbf{"n":1}\n\n{"n":2}\r\nlast\n'),
        write(tmp_path, "b.jsonl.gz", text(numbered(0, 50_000))),
        write(tmp_path, "c.csv.zst", b"n,s\n1,x\n2,y\n"),
        tmp_path / "rows.parquet",
    ]
    with collecting(tmp_path / "log") as collector:
        for file in files:
            assert send(collector.port, file, "--source", file.name).code == 0
        assert send(collector.port, *files, "--source", "all").code == 0
        held = logged(collector.log)
    assert held["a.jsonl"] == [b'{"n":1}', b"", b'{"n":2}\r', b"last"]
    assert held["b.jsonl.gz"] == numbered(0, 50_000)
    assert held["c.csv.zst"] == [b"1,x", b"2,y"]
    assert [json.loads(line) for line in held["rows.parquet"]] == [
        {"n": 1, "s": 'ä"\\\n', "f": 1.5},
        {"n": 2, "s": None, "f": None},
    ]
    assert held["all"] == [line for file in files for line in held[file.name]]


def test_sent_again_nothing_is_sent_and_a_longer_file_goes_on(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", text(numbered(0, 1000)))
    with collecting(tmp_path / "log") as collector:
        assert "sent 1,000 records" in send(collector.port, file).out
        assert "sent 0 records" in (again := send(collector.port, file)).out
        assert "1,000 were sent before" in again.out
        write(tmp_path, "a.jsonl", text(numbered(0, 1500)))
        assert "sent 500 records" in send(collector.port, file).out
        write(tmp_path, "a.jsonl", text(numbered(0, 10)))
        shorter = send(collector.port, file)
        assert shorter.code == 2
        assert "has 1,500 records of a.jsonl-" in shorter.message
        assert logged(collector.log) == {source_of([str(file)]): numbered(0, 1500)}


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("name, header", [("a.jsonl", b""), ("a.csv", b"ts,k\n"), ("A.CSV", b"\xef\xbb\xbfts,k\r\n")])
def test_a_last_line_waits_for_its_newline(tmp_path: Path, name: str, header: bytes, suffix: str) -> None:
    lines = [b"1,a", b"2,bcd", b"3,c"]
    with collecting(tmp_path / "log") as collector:
        for data, sent, waiting in (
            (header[:4], [], None),
            (header + b"1", [], "1 byte has"),
            (header + b"1,a\n2,b", lines[:1], "3 bytes have"),
            (header + b"1,a\n2,bcd", lines[:1], "5 bytes have"),
            (header + b"1,a\n2,bcd\n", lines[:2], None),
            (header + b"1,a\n2,bcd\n3,c\n", lines, None),
        ):
            file = write(tmp_path, name + suffix, data)
            ended = send(collector.port, file)
            expected = f"{file}: the last {waiting} no newline yet and were not sent; --last-line sends them\n"
            assert (ended.code, ended.err) == (0, expected if waiting else "")
            assert logged(collector.log).get(source_of([str(file)]), []) == sent


def test_a_last_line_is_sent_as_it_is_where_that_is_said(tmp_path: Path) -> None:
    first, second = write(tmp_path, "a.jsonl", b"1\n2"), write(tmp_path, "b.jsonl.zst", b"3\n4")
    with collecting(tmp_path / "log") as collector:
        refused = send(collector.port, first, second)
        assert refused.code == 2
        assert f"{first}: the last 1 byte has no newline yet, and records of another file follow it" in refused.message
        assert logged(collector.log) in ({}, {source_of([str(first), str(second)]): [b"1"]})
        for _ in range(2):
            ended = send(collector.port, first, second, "--last-line")
            assert (ended.code, ended.err) == (0, "")
            assert logged(collector.log) == {source_of([str(first), str(second)]): [b"1", b"2", b"3", b"4"]}
        again = send(collector.port, first, second)
        assert "sent 0 records" in again.out and not again.err


def test_lines_of_several_blocks_arrive_and_the_last_one_waits(tmp_path: Path) -> None:
    lines = [b"x" * size for size in (1, 300_000, 5, 131_071, 131_072, 70_000, 131_060)]
    with collecting(tmp_path / "log") as collector:
        file = write(tmp_path, "a.jsonl", b"\n".join(lines))
        assert "the last 131,060 bytes have no newline yet" in send(collector.port, file).err
        assert logged(collector.log)[source_of([str(file)])] == lines[:-1]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst"])
def test_a_compressed_file_that_is_cut_short_is_named(tmp_path: Path, name: str) -> None:
    file = write(tmp_path, name, text(numbered(0, 10)))
    file.write_bytes(file.read_bytes()[:-3])
    with collecting(tmp_path / "log") as collector:
        ended = send(collector.port, file)
        assert ended.code == 2
        packing = {".gz": "gzip", ".zst": "zstd"}[file.suffix]
        assert f"{file} cannot be read to its end: its {packing} data is cut short" in ended.message


def test_a_file_that_shrinks_while_it_is_sent_is_named(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", text(numbered(0, 60_000)))
    with collecting(tmp_path / "log") as collector:
        sender = start("send", file, "--to", f"127.0.0.1:{collector.port}", "--source", "s", "--rate", "20000")
        until(lambda: logged(collector.log), "the first records", bool)
        os.truncate(file, file.stat().st_size // 2)
        ended = finished(sender)
        assert ended.code == 2
        assert f"{file} changed while it was read: it had " in ended.message


def test_files_of_one_name_in_two_folders_are_two_sources(tmp_path: Path) -> None:
    assert source_of([str(tmp_path / "a.jsonl")]) != source_of([str(tmp_path / "b" / "a.jsonl")])
    assert source_of([str(tmp_path / "b" / ".." / "a.jsonl")]) == source_of([str(tmp_path / "a.jsonl")])
    assert len(source_of(["x" * 400, "y"])) <= 200


def test_collector_and_sender_are_killed_and_each_record_arrives_once(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", text(numbered(0, 60_000)))
    dice = random.Random(11)
    with collecting(tmp_path / "log") as collector:
        arguments = ("send", file, "--to", f"127.0.0.1:{collector.port}", "--source", "s", "--rate", "20000")
        sender = start(*arguments)
        for turn in range(4):
            time.sleep(1.5 + dice.random() / 2 if not turn else dice.random() / 2)
            collector.kill()
            collector.start()
            if turn == 2:
                sender.kill()
                sender.communicate()
                sender = start(*arguments)
        ended = finished(sender)
        assert ended.code == 0, ended.err
        assert logged(collector.log) == {"s": numbered(0, 60_000)}


@pytest.mark.alone
def test_a_rate_is_kept(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", text(numbered(0, 3000)))
    with collecting(tmp_path / "log") as collector:
        begun = time.monotonic()
        assert send(collector.port, file, "--rate", "2000").code == 0
        assert 1.4 < time.monotonic() - begun < 2.5
        assert logged(collector.log)[source_of([str(file)])] == numbered(0, 3000)


@pytest.mark.alone
def test_event_times_set_the_pace(tmp_path: Path) -> None:
    rows = [f'{{"ts":{second}}}' for second in (1000, 1060, "null", 1030, 1120)]
    file = write(tmp_path, "a.jsonl", "".join(f"{row}\n" for row in rows).encode())
    iso = write(tmp_path, "b.csv", b"id,at\n1,20260101T000000z\n2,2026-01-01T00:01:00+00:00\n")
    with collecting(tmp_path / "log") as collector:
        begun = time.monotonic()
        assert send(collector.port, file, "--speed-up", "120", "--event-time", "ts", "--unit", "s").code == 0
        assert 0.95 < time.monotonic() - begun < 1.8
        begun = time.monotonic()
        assert send(collector.port, iso, "--speed-up", "60", "--event-time", "at", "--source", "b").code == 0
        assert 0.95 < time.monotonic() - begun < 1.8
        held = logged(collector.log)
        assert held[source_of([str(file)])] == [row.encode() for row in rows]
        assert len(held["b"]) == 2


def test_shifted_to_now_the_distances_stay(tmp_path: Path) -> None:
    files = {
        "ms": (write(tmp_path, "a.jsonl", b'{"ts":5000,"x":1}\nno JSON\n{"ts":8500}\n'), "ts"),
        "": (write(tmp_path, "b.csv", b'at,"x"\n2026-01-01T00:00:00Z,"a,b"\n2026-01-01T00:00:03.5Z,\n'), "at"),
    }
    with collecting(tmp_path / "log") as collector:
        for unit, (file, column) in files.items():
            options = ["--event-time", column, "--shift-to-now", "--source", file.name]
            assert send(collector.port, file, *options, *(["--unit", unit] if unit else [])).code == 0
        held = logged(collector.log)
    first, dead, second = held["a.jsonl"]
    assert dead == b"no JSON"
    assert json.loads(second)["ts"] - json.loads(first)["ts"] == 3500
    assert abs(json.loads(first)["ts"] / 1000 - time.time()) < 20
    first, second = held["b.csv"]
    assert first.endswith(b',"a,b"')
    begin, end = (datetime.fromisoformat(row.split(b",")[0].decode().replace("Z", "+00:00")) for row in (first, second))
    assert (end - begin).total_seconds() == 3.5
    assert abs((datetime.now(timezone.utc) - begin).total_seconds()) < 20


def test_a_signal_ends_it_and_the_next_one_goes_on(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", text(numbered(0, 5000)))
    with collecting(tmp_path / "log") as collector:
        arguments = ("send", file, "--to", f"127.0.0.1:{collector.port}", "--source", "s")
        for number in (signal.SIGTERM, signal.SIGINT):
            sender = start(*arguments, "--rate", "100")
            before = len(logged(collector.log).get("s", []))
            enough = before + 10
            until(lambda: len(logged(collector.log).get("s", [])), "ten more", partial(le, enough))
            sender.send_signal(number)
            ended = finished(sender)
            assert ended.code == 130
            assert "records are acknowledged; `send` again resumes there" in ended.message
        assert send(collector.port, file, "--source", "s").code == 0
        assert logged(collector.log) == {"s": numbered(0, 5000)}


def test_a_refusal_ends_it_with_one_message(tmp_path: Path) -> None:
    file = write(tmp_path, "a.jsonl", b"x" * 300 + b"\n")
    with collecting(tmp_path / "log", "--max-line", "200") as collector:
        ended = send(collector.port, file)
        assert ended.code == 1
        assert "line_too_long" in ended.message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--to", "nowhere"], "--to must be HOST:PORT"),
        (["--source", "plain"], "--source must be"),
        (["--rate", "0"], "--rate must be positive"),
        (["--rate", "1", "--speed-up", "1"], "not both"),
        (["--speed-up", "1"], "need --event-time"),
        (["--give-up-after", "1"], "must be a duration"),
    ],
)
def test_the_command_line_says_what_is_wrong(tmp_path: Path, options: list[str], message: str) -> None:
    ended = streamgauge("send", write(tmp_path, "a.jsonl", b"x\n"), *options)
    assert (ended.code, message in ended.message) == (2, True), ended.err
    assert streamgauge("send", tmp_path / "nothing").code == 2


def test_without_a_collector_it_gives_up_in_the_end() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        said: list[str] = []
        client = Client("127.0.0.1", taken.getsockname()[1], "s", give_up_after=0.5, report=said.append)
        with pytest.raises(ClientError, match="Connection refused; gave up after"):
            client.connect()
        assert len(said) > 1


def test_a_client_notices_another_log(tmp_path: Path) -> None:
    with collecting(tmp_path / "log") as collector:
        client = Client("127.0.0.1", collector.port, "s", give_up_after=10)
        client.send([b"a", b"b"])
        client.flush()
        collector.kill()
        collector.log = tmp_path / "another"
        collector.start()
        with pytest.raises(ClientError, match="was the log replaced"):
            client.send([b"c"])
            client.flush()
        client.close()


def test_two_clients_of_one_source_do_not_fight(tmp_path: Path) -> None:
    with collecting(tmp_path / "log") as collector:
        first = Client("127.0.0.1", collector.port, "s")
        first.connect()
        with Client("127.0.0.1", collector.port, "s") as second:
            second.send([b"a"])
        with pytest.raises(ClientError, match="superseded"):
            first.send([b"b"])
            first.flush()
        first.close()
        assert logged(collector.log) == {"s": [b"a"]}


def test_a_window_is_bounded_while_nothing_is_acknowledged() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = threading.Event()

        client = Client("127.0.0.1", server.getsockname()[1], "s")

        def listen() -> None:
            connection, _ = server.accept()
            connection.recv(1000)
            connection.sendall(b'READY {"next": 0}\n')
            while connection.recv(1 << 20):
                taken.set()

        threading.Thread(target=listen, daemon=True).start()
        sender = threading.Thread(target=lambda: client.send(b"x" * 1000 for _ in range(100_000)), daemon=True)
        sender.start()
        assert taken.wait(10)
        time.sleep(0.5)
        assert sender.is_alive()
        assert client.next < 18_000


def test_rows_of_parquet_are_the_json_that_their_dead_letters_are() -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone.utc)
    rows = pa.record_batch(
        {
            "i": pa.array([1, None, -(2**63)], pa.int64()),
            "f": pa.array([1.0, None, 1e300], pa.float64()),
            "inf": pa.array([float("inf"), float("nan"), -0.0], pa.float64()),
            "b": [True, None, False],
            "s": ['"\\\n\x00é', None, ""],
            "t": pa.array([moment, None, moment], pa.timestamp("us", "UTC")),
            "l": [[1, 2], None, []],
            'a "name"': [{"x": 1}, None, {"x": None}],
            "d": pa.array(["p", None, "p"]).dictionary_encode(),
        }
    )
    for index, line in enumerate(json_lines(rows).splitlines()):
        assert json.loads(line) == json.loads(as_json(rows, index))
    assert json_lines(rows.slice(1, 1)) == json_lines(rows).splitlines(keepends=True)[1]

"""Cluster benchmarks: `python -m benchmarks.cluster [--only batch,kafka,latency,times,growth]`.

A Flink cluster, a Kafka broker and the workers run on this machine, next to what they are measured with. Prints one
table.
"""

import argparse
import random
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from benchmarks.cluster import flink_sql
from benchmarks.contenders import Task
from benchmarks.events import EventSet, file_paths
from benchmarks.live.latency import arrivals, p50_p99, passings, waits
from benchmarks.live.senders import lines, stream
from benchmarks.live.stack import Stack, job, newest_checkpoint
from benchmarks.streamgauge import Streamgauge
from benchmarks.targets import Row, print_table
from dataflow.commands.flink.state import growth_of
from tests.cluster.broker import Broker, broker
from tests.cluster.cluster import Cluster
from tests.cluster.topics import produce
from tests.dataflow.jobs import streamgauge
from tests.waiting import until

PARTITIONS: Final = 4
PATIENCE: Final = 300.0


class Bench:
    """What all measures share: a cluster, a broker, a folder."""

    def __init__(self, folder: Path, cluster: Cluster, server: Broker):
        self.folder, self.cluster, self.server = folder, cluster, server

    def timed(self, *arguments: str | Path) -> float:
        """A command of ours that must succeed; how long it took."""
        began = time.monotonic()
        ended = streamgauge(*arguments)
        if ended.code:
            raise RuntimeError(f"{' '.join(map(str, arguments))}: {ended.err}")
        return time.monotonic() - began

    def newest(self, name: str) -> dict[str, Any]:
        """The newest checkpoint of a job in the folder of that name; empty: there is none."""
        return newest_checkpoint(self.folder / name / "state")

    def taken(self, name: str) -> float:
        """When that was taken; 0: there is none."""
        return float(self.newest(name).get("taken", 0))


def measure_batch(bench: Bench) -> Iterator[Row]:
    """Rows a second beyond the start-up, here and on Flink, on the same two cores."""
    rates = {}
    for name, program, flags in (
        ("here", ("run",), ()),
        ("on Flink", ("flink", "submit"), (*bench.cluster.flags, "--parallelism=2")),
    ):
        seconds = []
        for parts in (1, 4):
            events = EventSet(5_000_000, parts=parts)
            folder = bench.folder / f"batch-{program[0]}-{parts}"
            folder.mkdir()
            sources = file_paths(events, "jsonl", bench.folder / "events")
            command = Streamgauge(()).command(Task(events, "jsonl"), sources, folder)
            seconds.append(bench.timed(*program, command[-1], *flags))
        rates[name] = 15_000_000 / (seconds[1] - seconds[0])
        figure = f"{rates[name] / 1e6:.2f} M rows/s (20 M against 5 M); 5 M take {seconds[0]:.1f} s"
        yield f"JSON rows {name}", "-", figure, True
    ratio = rates["on Flink"] / rates["here"]
    yield "Flink against the local runner, a core", "at least 0.6", f"{ratio:.2f}", ratio >= 0.6


def measure_kafka(bench: Bench) -> Iterator[Row]:
    """From a topic to tables, with a checkpoint every 10 s."""
    records = 12_000_000
    topic = bench.server.create("bench", PARTITIONS)
    dice, now = random.Random(0), int(time.time() * 1000)
    block = lines(dice, 10_000, 1_111_111_111_111).splitlines()
    for partition in range(PARTITIONS):
        stamps = (now + number // 25 for number in range(records // PARTITIONS))
        values = [block[n % 10_000].replace(b"1111111111111", b"%d" % at) for n, at in enumerate(stamps)]
        produce(bench.server, topic, values, partition)
    folder = bench.folder / "kafka"
    folder.mkdir()
    source = {"kafka": {"brokers": bench.server.address, "topic": topic}}
    watermark = {"out_of_orderness": "1s", "idle_after": "never"}
    content = {**job(folder, "10s"), "source": source, "watermark": watermark, "execution": {"checkpoint": "10s"}}
    (folder / "job.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    bench.timed("flink", "submit", folder / "job.yaml", *bench.cluster.flags, "--parallelism=1")
    seen: list[tuple[float, int]] = []

    def look() -> bool:
        newest = bench.newest("kafka")
        if newest and (not seen or seen[-1][0] != newest["taken"]):
            seen.append((newest["taken"], newest["source"]["position"]))
        return bool(seen) and seen[-1][1] == records

    until(look, "a checkpoint after all records", seconds=PATIENCE)
    bench.timed("flink", "cancel", folder / "job.yaml")
    busy = [(at, position) for at, position in seen if position > 0]
    first, last = busy[0], next(entry for entry in busy if entry[1] == records)
    rate = (last[1] - first[1]) / max(last[0] - first[0], 1e-9)
    yield "Kafka to tables, parallelism 1", "at least 200,000 rows/s", f"{rate:,.0f} rows/s", rate >= 200_000
    ends = [records // PARTITIONS // part for part in (4, 1)]
    took = [flink_sql.seconds(bench.cluster.rest_port, bench.server.address, topic, [end] * PARTITIONS) for end in ends]
    rate = PARTITIONS * (ends[1] - ends[0]) / (took[1] - took[0])
    figure = f"{rate:,.0f} rows/s ({records // 10**6} M against {records // 4 // 10**6} M)"
    yield "PyFlink's SQL, the same topic into nothing", "-", figure, True


def measure_latency(bench: Bench) -> Iterator[Row]:
    """From the watermark passing a window's end to its row in SQLite, at 10,000 rows/s, checkpoints every 10 s."""
    seconds = 60.0
    with Stack(bench.folder / "latency", "1s") as stack:
        streaming = threading.Thread(target=stream, args=(stack.port, "s", 10_000, seconds + 30))
        streaming.start()
        bench.timed("flink", "submit", stack.job_file, *bench.cluster.flags, "--set", "execution.checkpoint=10s")
        with arrivals(stack.folder / "figures.db", linger_s=3) as (seen,):
            begun = time.time() + 5  # what waited for the submission is not latency
            streaming.join()
        bench.timed("flink", "cancel", stack.job_file)
        passed = {end: at for end, at in passings(stack.log).items() if at > begun}
    waited = waits(passed, seen)
    p50, p99 = p50_p99(waited)
    figure = f"p50 {p50:.2f} s, p99 {p99:.2f} s over {len(waited)} windows"
    yield "past a window's end to its row, on Flink", "p99 under 2 s", figure, p99 < 2


def measure_times(bench: Bench) -> Iterator[Row]:
    """What an operator waits for."""
    with Stack(bench.folder / "times", "1s") as stack:
        streaming = threading.Thread(target=stream, args=(stack.port, "s", 1_000, 150.0))
        streaming.start()
        submitted = bench.timed("flink", "submit", stack.job_file, *bench.cluster.flags)
        yield "submission, to the job's first checkpoint", "-", f"{submitted:.1f} s", True
        yield "savepoint", "-", f"{bench.timed('flink', 'savepoint', stack.job_file):.1f} s", True
        yield "stop at a savepoint", "-", f"{bench.timed('flink', 'stop', stack.job_file):.1f} s", True
        yield "resume", "-", f"{bench.timed('flink', 'resume', stack.job_file, '--from', 'latest'):.1f} s", True
        killed = time.time()
        bench.cluster.kill_workers()
        taken = until(lambda: bench.taken("times"), "a checkpoint", lambda at: at > killed, seconds=PATIENCE)
        yield "kill -9 of a worker, to a checkpoint", "-", f"{taken - killed:.1f} s", True
        yield "compact", "-", f"{bench.timed('flink', 'compact', stack.job_file):.1f} s", True
        bench.timed("flink", "cancel", stack.job_file)
        streaming.join()


def measure_growth(bench: Bench) -> Iterator[Row]:
    """The cluster's own checkpoints over ten minutes of windows of a second, the most that pauses the source."""
    minutes = 10.0
    with Stack(bench.folder / "growth", "1s") as stack:
        streaming = threading.Thread(target=stream, args=(stack.port, "s", 1_000, 60 * minutes + 30))
        streaming.start()
        bench.timed("flink", "submit", stack.job_file, *bench.cluster.flags, "--set", "execution.checkpoint=10s")
        time.sleep(60 * minutes)
        (job,) = bench.cluster.running()
        found = bench.cluster.get(f"jobs/{job}/checkpoints")
        bench.timed("flink", "cancel", stack.job_file)
        streaming.join()
    size, growth = found["latest"]["completed"]["state_size"] / 1e6, growth_of(found["history"]) / 1e6
    yield f"state of Flink's after {minutes:g} minutes", "-", f"{size:.1f} MB", True
    yield "its growth", "at most 250 MB a day", f"{growth:,.0f} MB a day", growth <= 250


MEASURES: Final[dict[str, Callable[[Bench], Iterator[Row]]]] = {
    "batch": measure_batch,
    "kafka": measure_kafka,
    "latency": measure_latency,
    "times": measure_times,
    "growth": measure_growth,
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--only", default=",".join(MEASURES), help=f"only these, of {', '.join(MEASURES)}")
    asked = parser.parse_args()
    scratch = Path(tempfile.mkdtemp(prefix="streamgauge-cluster-"))
    try:
        with broker() as server, Cluster(scratch / "flink") as cluster:
            bench = Bench(scratch, cluster, server)
            all_met = print_table(row for name in asked.only.split(",") for row in MEASURES[name](bench))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return 0 if all_met else 1


if __name__ == "__main__":
    raise SystemExit(main())

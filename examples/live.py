"""`make live`: a collector, a live job with its page, and a sender of the flights, in one terminal.

Ctrl-C stops the sender, then the collector, then the job, which keeps a checkpoint; the next start resumes from there.
When all flights were sent, the next start empties the folder and starts the year again.
"""

import argparse
import http.client
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from types import FrameType

HERE = Path(__file__).resolve().parent
FLIGHTS = HERE / "data" / "flights.parquet"
STREAMGAUGE = (sys.executable, "-m", "dataflow.main")
PATIENCE_SECONDS = 60
INTERRUPTED = 130

asked_to_stop = 0


class Program:
    """One of the programs; what it says is printed with its name, and Ctrl-C in the terminal does not reach it."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [*STREAMGAUGE, *map(str, arguments)],
            cwd=HERE.parent,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        self.has_spoken = threading.Event()
        self.has_a_page = threading.Event()
        self._thread = threading.Thread(target=self._repeat, daemon=True)
        self._thread.start()

    @property
    def code(self) -> int | None:
        return self.process.poll()

    def stop(self) -> int:
        """Asks it to end, and waits; a second Ctrl-C, or too long a wait, ends it at once."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        if self.code is None:
            self.process.terminate()
        while self.code is None:
            if time.monotonic() > deadline or asked_to_stop > 1:
                say("live", f"{self.name} is ended by force")
                self.process.kill()
                break
            time.sleep(0.05)
        code = self.process.wait()
        self._thread.join(5)
        return code

    def _repeat(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.strip():
                say(self.name, line.rstrip())
                if ": page at " in line:
                    self.has_a_page.set()
            self.has_spoken.set()
        self.has_spoken.set()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", type=Path, default=HERE / "live.yaml", help="the job file")
    parser.add_argument("--flights", type=Path, default=FLIGHTS, help="the flights to send")
    parser.add_argument("--page-port", type=int, default=8081)
    parser.add_argument("--collector-port", type=int, default=8080)
    parser.add_argument("--speed-up", type=float, default=28_800, help="28,800: a day takes three seconds")
    options = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, note)
    folder = options.job.resolve().parent / "out" / "live"
    all_sent = folder / "all-sent"
    if all_sent.exists():
        say("live", f"all flights were sent: {folder} is emptied, and the year starts again")
        shutil.rmtree(folder)
    elif (folder / "log").exists():
        say("live", f"resuming with what is in {folder}; remove it to start the year again")
    folder.mkdir(parents=True, exist_ok=True)
    running: dict[str, Program] = {}
    ended: dict[str, int] = {}
    try:
        code = run(options, running, all_sent)
    finally:
        # In this order nothing is left on its way: what was sent is collected, and what was collected is read.
        for name in ("send", "collector", "job"):
            if name in running:
                ended[name] = running[name].stop()
    if asked_to_stop > 1:
        return INTERRUPTED
    code = code or ended.get("collector", 0) or ended.get("job", 0)
    if code == 0:
        say("live", "stopped; `make live` resumes from here")
    return code


def run(options: argparse.Namespace, running: dict[str, Program], all_sent: Path) -> int:
    """Starts one program after the other, and waits for Ctrl-C: exit code 0; or for one to end that should not."""
    page, port = f"http://localhost:{options.page_port}", options.collector_port
    collector = Program("collector", "collect", "--log", all_sent.parent / "log", "--port", port)
    running["collector"] = collector
    if not comes_true(collector.has_spoken.is_set, running):
        return why(running)
    running["job"] = job = Program(
        "job", "run", options.job.resolve(), "--streaming", "--serve", f"localhost:{options.page_port}"
    )
    if not comes_true(lambda: job.has_a_page.is_set() and answers(f"{page}/readyz"), running):
        return why(running)
    say("live", f"watch it at {page}; Ctrl-C stops everything")
    say("live", f"send something of your own: echo hello | nc -N localhost {port}")
    pace = ("--event-time", "time_hour", "--speed-up", options.speed_up)
    running["send"] = sender = Program(
        "send", "send", options.flights, "--to", f"127.0.0.1:{port}", "--source", "flights", *pace
    )
    comes_true(lambda: sender.code is not None, running)
    if sender.code == 0:
        all_sent.touch()
        say("live", "all flights are sent; the page stays until Ctrl-C")
        del running["send"]
        comes_true(lambda: False, running)
    return why(running)


def comes_true(condition: Callable[[], bool], running: dict[str, Program]) -> bool:
    """Whether a condition came true before Ctrl-C, and before any program ended."""
    while not asked_to_stop and all(program.code is None for program in running.values()):
        if condition():
            return True
        time.sleep(0.1)
    return False


def why(running: dict[str, Program]) -> int:
    """The exit code: 0 after Ctrl-C, else that of the program that ended of itself."""
    for program in running.values():
        if program.code is not None and not asked_to_stop:
            say("live", f"{program.name} ended with exit code {program.code}; stopping the others")
            return program.code if program.code > 0 else 1
    return 0


def answers(url: str) -> bool:
    """Whether something answers 200 there."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, http.client.HTTPException, OSError):
        return False


def note(number: int, frame: FrameType | None) -> None:
    """Notes that the user asks for an end; all the rest waits for that."""
    global asked_to_stop
    asked_to_stop += 1


def say(name: str, line: str) -> None:
    print(f"{name:<9} │ {line}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

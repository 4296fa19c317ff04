"""An endless job on a real Prism: its windows close, it ends, and it leaves nothing behind however it ends."""

import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apache_beam as beam
import grpc  # type: ignore[import-untyped]  # it ships none
import pytest

from runners import direct
from runners.prism import PrismFailed, endless_pipeline
from runners.prism_binary import cached, locate
from tests.runners import endless
from tests.servers import as_user
from tests.waiting import until

ROOT = Path(__file__).parent.parent.parent
FOR_EVER = 1_000_000


@pytest.fixture(autouse=True)
def nothing_closed_yet() -> None:
    endless.CLOSED.clear()


@pytest.fixture(autouse=True, scope="module")
def lost_connections_are_the_jobs_to_tell() -> Iterator[None]:
    """Beam's threads fail as they see that Prism is gone, which may be when another test runs."""
    before = threading.excepthook

    def tell_others(failure: threading.ExceptHookArgs) -> None:
        if not isinstance(failure.exc_value, grpc.RpcError):
            before(failure)

    yield
    threading.excepthook = tell_others


def program(windows: int, temporary: Path | None = None) -> subprocess.Popen[str]:
    """The job as a process of its own."""
    environment = {**os.environ, "TMPDIR": str(temporary)} if temporary else None
    return subprocess.Popen(
        [sys.executable, "-m", "tests.runners.endless", str(windows)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def is_gone(process: int) -> bool:
    ran = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return ran.stdout.strip() in ("", "Z")


def first_window(job: subprocess.Popen[str]) -> int:
    """Waits for the first window, and gives the process id of the job's Prism."""
    assert job.stdout
    said = [job.stdout.readline().split(), job.stdout.readline().split()]  # either may come first
    assert sorted(words[0] for words in said if words) == ["prism", "window"]
    return next(int(words[1]) for words in said if words[0] == "prism")


def test_windows_close_while_the_source_goes_on_and_the_job_ends_with_its_source() -> None:
    running = endless.count_up(40).run()
    until(lambda: len(endless.CLOSED), "three windows", lambda count: count >= 3)
    assert len(endless.CLOSED) < 40
    assert running.wait_until_finish() == "DONE"
    closed = list(endless.CLOSED)
    assert closed == [(window, 3) for window in range(40)]


def test_cancel_from_another_thread_ends_the_wait_and_prism() -> None:
    running = endless.count_up(FOR_EVER).run()
    prism = endless.prism_of(os.getpid())
    threading.Timer(0.5, running.cancel).start()
    began = time.monotonic()
    assert running.wait_until_finish() == "CANCELLED"
    assert time.monotonic() - began < 5
    until(lambda: is_gone(prism), "the end of Prism", seconds=10)


def test_what_fails_in_a_dofn_fails_the_job_and_ends_prism() -> None:
    pipeline = endless_pipeline([])
    _ = pipeline | beam.Create([(0, -1)]).with_output_types(tuple[int, int]) | beam.ParDo(endless.CloseFn())
    running = pipeline.run()
    prism = endless.prism_of(os.getpid())
    with pytest.raises(RuntimeError, match="a window before the first"):
        running.wait_until_finish()
    until(lambda: is_gone(prism), "the end of Prism", seconds=10)


def test_a_prism_that_is_lost_fails_the_job(capfd: pytest.CaptureFixture[str]) -> None:
    running = endless.count_up(FOR_EVER).run()
    until(lambda: len(endless.CLOSED), "a window")
    os.kill(endless.prism_of(os.getpid()), signal.SIGKILL)
    with pytest.raises(PrismFailed, match=r"^Prism ended before the job did: it was killed, or ended without a word$"):
        running.wait_until_finish()
    assert capfd.readouterr().err == ""


def test_a_program_that_does_not_serve_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "prism"
    fake.write_text("#!/bin/sh\n: '\npath\tgithub.com/apache/beam/sdks/v2/go/cmd/prism\n'\necho no port is free >&2\n")
    fake.chmod(0o755)
    monkeypatch.setenv("STREAMGAUGE_PRISM", str(fake))
    with pytest.raises(PrismFailed, match=r"prism did not start: no port is free$"):
        endless.count_up(1).run()


def test_a_healthy_run_says_nothing_and_leaves_no_file_and_no_process(tmp_path: Path) -> None:
    job = program(5, tmp_path)
    prism = first_window(job)
    said, complained = job.communicate(timeout=30)
    assert (job.returncode, complained) == (0, "")
    assert said.splitlines()[-1] == "DONE"
    assert list(tmp_path.iterdir()) == []
    until(lambda: is_gone(prism), "the end of Prism", seconds=10)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda how: how.name)
def test_prism_ends_with_the_process_that_started_it(how: signal.Signals) -> None:
    job = program(FOR_EVER)
    prism = first_window(job)
    assert not is_gone(prism)
    job.send_signal(how)
    job.communicate(timeout=60)
    until(lambda: is_gone(prism), "the end of Prism", seconds=10)


def test_two_jobs_run_side_by_side() -> None:
    jobs = [program(30), program(30)]
    prisms = {first_window(job) for job in jobs}
    ended = [job.communicate(timeout=30) for job in jobs]
    assert len(prisms) == 2
    assert [(said.splitlines()[-1], complained) for said, complained in ended] == [("DONE", ""), ("DONE", "")]


@pytest.mark.alone
def test_every_start_gives_a_first_window_within_ten_seconds() -> None:
    for _ in range(int(os.environ.get("STREAMGAUGE_STARTS", "5"))):
        job = program(2)
        began = time.monotonic()
        first_window(job)
        assert time.monotonic() - began < 10
        assert job.communicate(timeout=60)[0].splitlines()[-1] == "DONE"


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike those of pytest."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def test_only_this_user_reaches_the_job(open_folder: Path) -> None:
    """Neither Prism, as `make prism` builds it, nor the workers in the job's own process have a port."""
    assert locate([]) == cached()
    job = program(FOR_EVER, open_folder)
    prism = first_window(job)
    try:
        listed = Path("/proc/net/tcp6").read_text() + Path("/proc/net/tcp").read_text()
        listening = [row.split() for row in listed.splitlines() if row.split()[3] == "0A"]
        ours = {socket for process in (job.pid, prism) for socket in sockets(process)}
        assert not [row[1] for row in listening if f"socket:[{row[9]}]" in ours]
        (folder,) = open_folder.glob("streamgauge-*")
        assert (stat.S_IMODE(folder.stat().st_mode), {path.name for path in folder.iterdir()}) == (
            0o700,
            {"prism", "workers"},
        )
        for path in folder.iterdir():
            assert finds(path)
            if os.getuid() == 0:  # only root can become another user
                assert (finds(path, *AS_NOBODY), finds(open_folder, *AS_NOBODY)) == (False, True)
    finally:
        job.kill()
        job.communicate()
    until(lambda: not list(open_folder.iterdir()), "a folder that is gone although the job was killed", seconds=10)


AS_NOBODY = as_user(65534, 65534)


def finds(path: Path, *as_whom: str) -> bool:
    """Whether a process finds a path, without which it cannot connect to a socket there."""
    return subprocess.run([*as_whom, "test", "-e", str(path)], check=False).returncode == 0


def sockets(process: int) -> Iterator[str]:
    for name in os.listdir(f"/proc/{process}/fd"):
        with suppress(OSError):
            yield os.readlink(f"/proc/{process}/fd/{name}")


def test_prism_asks_for_no_split_of_an_endless_range_when_a_call_is_slow() -> None:
    running = endless.count_up(3, call_seconds=1.5).run()
    assert running.wait_until_finish() == "DONE"
    assert endless.SPLITS == []
    assert len(endless.CLOSED) == 3


def test_a_job_may_be_started_by_any_thread() -> None:
    ended: list[str] = []
    thread = threading.Thread(target=lambda: ended.append(endless.count_up(3).run().wait_until_finish()))
    thread.start()
    thread.join(20)
    assert ended == ["DONE"]


def test_a_job_that_ends_runs_on_the_same_prism_if_it_is_asked_for() -> None:
    with direct.pipeline(["--runner=PrismRunner"]) as pipeline:
        _ = pipeline | beam.Create([(1, 2), (1, 3)]) | beam.CombinePerKey(sum) | beam.Map(endless.note)
    assert endless.CLOSED[0] == (1, 5)
    assert len(endless.CLOSED) == 1

"""Two jobs in one process: each has its own status and its own state, and neither sees the other's."""

import pickle
import threading
from pathlib import Path

import pytest

from dataflow.commands.load import load_job
from dataflow.errors import JobRunning
from dataflow.execution.bounded import execute, locked
from tests.dataflow.jobs import readings, written
from transforms.process.progress import Bulletin


def test_each_counts_its_own_records(tmp_path: Path) -> None:
    sizes, bulletins = (1000, 3000), (Bulletin(), Bulletin())
    jobs = []
    for size in sizes:
        folder = tmp_path / str(size)
        folder.mkdir()
        jobs.append(load_job(str(written(folder, records=readings(size)))))
    threads = [
        threading.Thread(target=execute, args=(job, [], None, bulletin))
        for job, bulletin in zip(jobs, bulletins, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tuple(bulletin.tally.read for bulletin in bulletins) == sizes


def test_a_status_is_the_same_one_for_workers_of_this_process_as_long_as_it_is_shown() -> None:
    bulletin, other = Bulletin(), Bulletin()
    pickled = pickle.dumps(bulletin)
    assert pickle.loads(pickled) is bulletin
    assert pickle.loads(pickle.dumps(other)) is not bulletin
    bulletin.set(position=5)
    del bulletin
    assert pickle.loads(pickled).position == 0, "elsewhere it is one that is not shown"


def test_a_state_that_one_thread_holds_is_refused_to_another(tmp_path: Path) -> None:
    state, refused = str(tmp_path / "state"), list[JobRunning]()

    def take() -> None:
        with pytest.raises(JobRunning) as found, locked(state):
            pass
        refused.append(found.value)

    with locked(state), locked(state):  # a command may do more than one thing with it
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
    assert len(refused) == 1
    with locked(state):
        pass

"""What the doctor says of a job's runner."""

from pathlib import Path

import pytest

from runners.doctor import Diagnosis, NeverCloses, diagnose
from runners.flags import FlagError
from runners.flink_rest import FlinkError
from runners.prism_binary import PrismError, beam_version, cached
from tests.runners.test_prism_binary import fake

SWITCHED = "DirectRunner would never close a window of an endless source, so Prism is used instead"


@pytest.fixture(autouse=True)
def a_prism_that_was_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("STREAMGAUGE_PRISM", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return fake(cached())


def test_a_job_that_ends_runs_in_this_process_and_needs_no_prism(a_prism_that_was_built: Path) -> None:
    a_prism_that_was_built.unlink()
    for flags in ([], ["--runner=DirectRunner"], ["--direct_num_workers=2"]):
        assert diagnose(flags, endless=False) == Diagnosis("DirectRunner (in this process)")
    assert diagnose(["--runner=FlinkRunner"], endless=False) == Diagnosis("FlinkRunner")


def test_an_endless_job_is_switched_to_prism_and_told(a_prism_that_was_built: Path) -> None:
    assert diagnose([], endless=True) == Diagnosis(
        "Prism (on this machine)", (SWITCHED,), a_prism_that_was_built, beam_version()
    )


def test_prism_asked_for_by_name_needs_no_note(a_prism_that_was_built: Path) -> None:
    assert diagnose(["--runner=PrismRunner"], endless=True).notes == ()


@pytest.mark.parametrize("name", ["DirectRunner", "direct", "FnApiRunner", "directrunner", "BundleBasedDirectRunner"])
def test_a_runner_that_never_closes_a_window_is_refused_when_asked_for_by_name(name: str) -> None:
    with pytest.raises(
        NeverCloses, match=rf"^--runner={name}, .* never closes a window .*: omit --runner to use Prism"
    ):
        diagnose([f"--runner={name}", "--streaming"], endless=True)


def test_a_live_job_runs_on_prism_and_on_flink_only(a_prism_that_was_built: Path) -> None:
    with pytest.raises(NeverCloses, match=r"^--runner=my.own.Runner: live jobs run on Prism and on Flink in this vers"):
        diagnose(["--runner=my.own.Runner"], endless=True)
    with pytest.raises(NeverCloses, match=r"^--runner=FlinkRunner: a live job needs a running cluster"):
        diagnose(["--runner=FlinkRunner"], endless=True)


@pytest.mark.parametrize("endless", [False, True])
def test_a_flink_that_does_not_answer_is_refused(endless: bool) -> None:
    with pytest.raises(FlinkError, match=r"^no Flink answers at localhost:1: Connection refused$"):
        diagnose(["--runner=FlinkRunner", "--flink_master=localhost:1"], endless=endless)


def test_flags_that_do_nothing_are_told() -> None:
    notes = diagnose(["--direct_num_workers=2", "--direct_running_mode=multi_threading"], endless=True).notes
    assert notes == (SWITCHED, "Prism ignores --direct_num_workers, --direct_running_mode")


def test_a_prism_of_somebody_elses_may_be_open_to_the_network(tmp_path: Path) -> None:
    named = fake(tmp_path / "other")
    (note,) = diagnose(["--runner=PrismRunner", f"--prism_location={named}"], endless=True).notes
    assert note == f"{named} may listen on every network interface; the one of `make prism` does not"


def test_a_prism_of_another_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PrismError, match="they must be the same"):
        diagnose([f"--prism_location={fake(tmp_path / 'old', '2.1.0')}"], endless=True)


def test_flags_that_beam_cannot_read_are_refused() -> None:
    with pytest.raises(FlagError, match="is not one of"):
        diagnose(["--runner=Nobody"], endless=True)

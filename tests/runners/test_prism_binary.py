"""Which Prism is taken, and what is said of one that cannot be."""

import platform
import sys
from pathlib import Path

import pytest

from runners.flags import FlagError
from runners.prism_binary import BUILD, PrismError, beam_version, build, cached, locate, main

VERSION = beam_version()


def fake(at: Path, version: str = VERSION) -> Path:
    """A program that says of itself what a Prism of that version does."""
    module = f"mod\tgithub.com/apache/beam/sdks/v2\tv{version}\th1:0=\n" if version else ""
    at.parent.mkdir(parents=True, exist_ok=True)
    at.write_text(f"#!/bin/sh\n: '\npath\tgithub.com/apache/beam/sdks/v2/go/cmd/prism\n{module}'\n")
    at.chmod(0o755)
    return at


@pytest.fixture(autouse=True)
def nothing_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No Prism named, none built, and a network where nothing answers."""
    monkeypatch.delenv("STREAMGAUGE_PRISM", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr("apache_beam.runners.portability.prism_runner.PrismJobServer.BIN_CACHE", str(tmp_path / "beam"))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_the_flag_is_before_the_variable_before_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flagged, set_by_variable, built = fake(tmp_path / "flagged"), fake(tmp_path / "variable"), fake(cached())
    assert locate([]) == built
    monkeypatch.setenv("STREAMGAUGE_PRISM", str(set_by_variable))
    assert locate([]) == set_by_variable
    assert locate([f"--prism_location={flagged}"]) == flagged


def test_the_cache_is_the_users_and_of_beams_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cached() == tmp_path / "caches" / "streamgauge" / f"prism-{VERSION}-{BUILD}" / "prism"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cached() == tmp_path / "home" / ".cache" / "streamgauge" / f"prism-{VERSION}-{BUILD}" / "prism"


def test_what_beam_downloaded_before_is_last(tmp_path: Path) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"apache_beam-v{VERSION}-prism-{platform.system().lower()}-{machine}"
    downloaded = fake(tmp_path / "beam" / f"{name}.zip")  # Beam takes it as it is if it is no archive
    assert locate([]) == downloaded


def test_without_any_prism_the_error_names_every_way() -> None:
    with pytest.raises(PrismError) as refused:
        locate([])
    for way in ("make prism", "Go", "--prism_location", "STREAMGAUGE_PRISM", "download"):
        assert way in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_named_prism_that_is_missing_is_not_replaced_by_another(tmp_path: Path) -> None:
    fake(cached())
    with pytest.raises(PrismError, match=r"^--prism_location: .*/gone is not a file; run `make prism`"):
        locate([f"--prism_location={tmp_path / 'gone'}"])


def test_a_prism_that_is_not_executable_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "prism").chmod(0o644)
    monkeypatch.setenv("STREAMGAUGE_PRISM", str(tmp_path / "prism"))
    with pytest.raises(
        PrismError, match=r"^STREAMGAUGE_PRISM: .*/prism is not executable; make it so with `chmod \+x`"
    ):
        locate([])


def test_a_prism_of_another_version_is_refused_with_both(tmp_path: Path) -> None:
    old = fake(tmp_path / "prism", "2.60.0")
    with pytest.raises(PrismError, match=rf"is Prism 2\.60\.0 and Beam is {VERSION}: they must be the same"):
        locate([f"--prism_location={old}"])


@pytest.mark.parametrize("version", ["", "2.1.1-0.20260101000000-0123456789ab"])
def test_a_prism_of_a_checkout_does_not_say_its_version_and_is_taken(tmp_path: Path, version: str) -> None:
    checkout = fake(tmp_path / "prism", version)
    assert locate([f"--prism_location={checkout}"]) == checkout


@pytest.mark.parametrize("program", ["/bin/sh", sys.executable])
def test_another_program_is_no_prism(program: str) -> None:
    with pytest.raises(PrismError, match="is not a Prism; "):
        locate([f"--prism_location={program}"])


def test_an_empty_file_is_no_prism(tmp_path: Path) -> None:
    (tmp_path / "prism").touch(0o755)
    with pytest.raises(PrismError, match="is not a Prism; "):
        locate([f"--prism_location={tmp_path / 'prism'}"])


def test_flags_that_beam_cannot_read_are_told() -> None:
    with pytest.raises(FlagError, match="NoSuchRunner is not one of"):
        locate(["--runner=NoSuchRunner"])


def test_what_was_built_is_not_built_again(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    built = fake(cached())
    monkeypatch.setenv("PATH", "")
    assert build() == built
    assert main() == 0
    assert capsys.readouterr().out == f"prism {VERSION}: {built}\n"


def test_without_go_one_sentence_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert main() == 1
    assert capsys.readouterr().err.startswith("go is missing, which builds Prism: install Go ")


def test_a_build_that_fails_says_why_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go = tmp_path / "bin" / "go"
    go.parent.mkdir()
    go.write_text("#!/bin/sh\necho no such module >&2\nexit 1\n")
    go.chmod(0o755)
    monkeypatch.setenv("PATH", str(go.parent))
    with pytest.raises(PrismError, match=r"^go mod init .* failed: no such module$"):
        build()
    assert list(cached().parent.iterdir()) == []

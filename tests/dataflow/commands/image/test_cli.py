"""`image` where there is no engine, or one that says what a test wants; tests/cluster has a real one."""

import json
from pathlib import Path

import pytest

from containers import checkout
from containers import image as images
from dataflow import __version__
from dataflow.main import main


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["image", *arguments])
    return int(ended.value.code or 0)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def docker(folder: Path, labels: dict[str, str]) -> None:
    """A docker whose every image has these labels, and in which nothing else can be done."""
    digest = f"localhost:5000/team/streamgauge@sha256:{'0' * 64}"
    settings = {"Config": {"Labels": labels, "User": "0"}, "Architecture": "amd64"}
    inspected = json.dumps([{"RepoDigests": [digest], "Id": "sha256:1", "Size": 1_000_000, **settings}])
    cases = ["version) echo amd64", f"image) echo '{inspected}'", f"tag | push) echo $@ >>{folder}/done"]
    script = ";;\n".join([*cases, "*) echo no >&2; exit 1"])
    (folder / "docker").write_text(f"#!/bin/sh\ncase $1 in\n{script}\nesac\n")
    (folder / "docker").chmod(0o755)


@pytest.mark.parametrize("arguments", [("build",), ("inspect", "i"), ("push", "--registry", "localhost:5000")])
def test_without_an_engine_every_command_is_one_clear_message(
    arguments: tuple[str, ...], path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*arguments) == 2
    output = capsys.readouterr().err
    assert output == "error: there is no container engine: install Docker or Podman (docker or podman on PATH)\n"


def test_an_image_of_another_python_is_shown_and_does_not_fit(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docker(path, {images.PYTHON_LABEL: "3.9", images.BEAM_LABEL: images.submitter()[1]})
    assert call("inspect", "streamgauge:old") == 1
    output = capsys.readouterr().out
    assert "streamgauge:old has Python 3.9 and this is 3." in output
    assert "label     streamgauge.python=3.9" in output


def test_an_image_of_another_beam_is_not_pushed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docker(path, {images.PYTHON_LABEL: images.submitter()[0], images.BEAM_LABEL: "2.0.0"})
    assert call("push", "streamgauge:old", "--registry", "localhost:5000") == 2
    assert capsys.readouterr().err.startswith("error: streamgauge:old has Beam 2.0.0 and this is 2.")


def test_a_base_that_cannot_be_had_says_how_to_name_another(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    docker(path, {})
    assert call("build", "--no-prism") == 2
    output = capsys.readouterr().err
    assert "error: the base image python:3." in output
    assert "name another with --base" in output


def test_push_gives_the_image_of_this_commit_both_names(
    path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    docker(path, dict(zip((images.PYTHON_LABEL, images.BEAM_LABEL), images.submitter(), strict=True)))
    here = checkout.Checkout(checkout.ROOT, commit="0123456789abcdef", clean=True)
    monkeypatch.setattr(checkout, "read", lambda: here)
    assert call("push", "--registry", "localhost:5000/team/") == 0
    built, name = f"streamgauge:{__version__}-0123456", "localhost:5000/team/streamgauge"
    names = (f"{name}:{__version__}-0123456", f"{name}:{__version__}")
    steps = [line for pushed in names for line in (f"tag {built} {pushed}", f"push {pushed}")]
    assert (path / "done").read_text().splitlines() == steps
    assert f"  {name}@sha256:" in capsys.readouterr().out


def test_push_needs_a_registry(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("push") == 2
    assert "--registry" in capsys.readouterr().err

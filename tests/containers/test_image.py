import re
import subprocess
from pathlib import Path

import pytest

from containers import checkout, engine, image
from containers.build import _platforms
from containers.engine import Engine, EngineError

ROOT = Path(__file__).parent.parent.parent
DOCKERFILE = (ROOT / "containers" / "Dockerfile").read_text(encoding="utf-8")


def program(folder: Path, name: str, script: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def test_without_an_engine_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="there is no container engine: install Docker or Podman"):
        engine.find()


def test_an_engine_that_does_not_answer_is_named_with_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, "docker", "echo Cannot connect to the Docker daemon >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match=r"docker does not answer \(Cannot connect to the Docker daemon\): is its"):
        engine.find()


def test_podman_does_where_docker_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "docker", "exit 1")
    program(tmp_path, "podman", "echo linux/arm64")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert engine.find() == Engine("podman", "arm64")


def test_a_failing_build_is_told_with_its_last_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, "docker", "echo step 1; echo no space left on device; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EngineError, match="docker build failed; its last lines:\nstep 1\nno space left on device"):
        Engine("docker", "amd64").watch("build", ".")


def test_an_image_of_this_python_and_beam_fits() -> None:
    python, beam = image.submitter()
    assert image.disagreement({image.PYTHON_LABEL: python, image.BEAM_LABEL: beam}, "i") is None


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        ({}, "i is not a Streamgauge image: it has no label streamgauge.python"),
        ({image.PYTHON_LABEL: "3.9"}, "i is not a Streamgauge image: it has no label streamgauge.beam"),
        ({image.PYTHON_LABEL: "3.9", image.BEAM_LABEL: "2.0"}, "i has Python 3.9 and this is 3."),
        ({image.PYTHON_LABEL: image.submitter()[0], image.BEAM_LABEL: "2.0"}, "i has Beam 2.0 and this is 2."),
    ],
)
def test_an_image_that_does_not_fit_says_both_values(labels: dict[str, str], sentence: str) -> None:
    assert (image.disagreement(labels, "i") or "").startswith(sentence)


def test_packages_are_those_that_every_maintained_debian_runs() -> None:
    assert _platforms("amd64")[0] == "manylinux_2_31_x86_64"
    assert {"manylinux2014_aarch64", "manylinux_2_17_aarch64"} <= set(_platforms("arm64"))
    with pytest.raises(EngineError, match="Beam has no packages for linux/s390x, only for amd64 and arm64"):
        _platforms("s390x")


def test_the_checkout_knows_its_commit_and_whether_it_was_changed(tmp_path: Path) -> None:
    for name in checkout.FILES:
        (tmp_path / name).write_text("")
    assert checkout.read(tmp_path) == checkout.Checkout(tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.com"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *arguments], cwd=tmp_path, check=True)
    found = checkout.read(tmp_path)
    assert found.clean
    assert found.commit is not None and re.fullmatch("[0-9a-f]{40}", found.commit)
    (tmp_path / "setup.py").write_text("changed")
    assert not checkout.read(tmp_path).clean


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"and .* is not one: setup\.py is missing"):
        checkout.read(tmp_path)


def test_the_dockerfile_keeps_to_what_we_promise() -> None:
    steps = re.findall(r"^([A-Z]+) (.*)", DOCKERFILE, re.MULTILINE)
    words = {word for word, _ in steps}
    assert not words & {"ADD", "SHELL", "VOLUME", "EXPOSE", "MAINTAINER"}
    assert [rest for word, rest in steps if word == "USER"] == ["10001:10001"]
    assert all(rest.startswith(("${BASE}", "packages")) for word, rest in steps if word == "FROM")
    assert "--no-index" in DOCKERFILE
    for name in ("ENTRYPOINT", "CMD"):
        assert next(rest for word, rest in steps if word == name).startswith("[")
    assert not re.search(r"curl|wget|apt-get|https?://|sudo|PASSWORD|TOKEN", DOCKERFILE)


def test_the_default_base_of_the_dockerfile_is_a_supported_python() -> None:
    version = re.search(r"^ARG BASE=python:(3\.\d+)-slim", DOCKERFILE, re.MULTILINE)
    assert version is not None
    assert version[1] in ("3.10", "3.11", "3.12", "3.13")

"""The house: who may import whom, and what every file keeps to."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TypeGuard

import pytest

import transforms
from transforms.model.kind import kinds
from transforms.time.window import Window
from transforms.time.window import kinds as windows

ROOT = Path(__file__).parent.parent
PACKAGES = ("dataflow", "transforms", "runners", "containers")
STAGES = ("collection", "preprocessing", "aggregation", "model", "storage")
SHOWN = {*transforms.__all__} - {"testing"}
"""The names that transforms itself shows; inside it they are imported from where they are defined."""
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
ABOVE_STAGES = ("transforms/__init__.py", "transforms/pipeline/")
"""What transforms shows to pipelines of other people: it may import every stage, and nothing else in transforms it."""
SOURCES = ("files", "log", "kafka")
JOBS = (
    *("dataflow/job/", "dataflow/execution/", "dataflow/graph", "dataflow/page/", "dataflow/report/"),
    *("dataflow/commands/load", "dataflow/commands/flink/", "dataflow/commands/image/"),
)
"""Where jobs are known: planned, run, shown; and by commands that take a job file, which they load."""
SINK_FOLDERS = ("parquet", "sql", "kafka")
SEES_RUNNERS = (
    *("dataflow/execution/", "dataflow/commands/flink/", "dataflow/commands/image/"),
    *("dataflow/commands/check.py", "dataflow/commands/run_live.py"),
)
"""What runs or submits jobs, and what asks whether they can be run."""
TOP_LEVEL = {
    *PACKAGES,
    *("tests", "setup.py", "README.md", "pyproject.toml", "Makefile", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE"),
    *("examples", "benchmarks", "docs", ".ci", ".git", ".gitignore"),
}


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_imports_keep_to_the_dependency_law(path: Path) -> None:
    package, *rest = path.relative_to(ROOT).parts
    stage = rest[0] if rest and rest[0] in STAGES else None
    for name in imports(path):
        ours, *inside = name.split(".")
        if ours not in PACKAGES:
            continue
        if package == "transforms":
            assert ours == "transforms", f"transforms knows nothing of {ours}"
            if relative(path).startswith(ABOVE_STAGES):
                continue
            assert inside and inside[0] not in (*SHOWN, "pipeline"), f"{name} is above {relative(path)}"
            if inside[0] in STAGES and inside[0] != stage:
                allowed = stage == "model" and inside[0] == "aggregation"
                assert allowed, f"{stage or 'the vocabulary'} must not import its sibling {inside[0]}"
        if package in ("runners", "containers"):
            assert ours == package, f"{package} knows nothing of ours, and imports {name}"
        if ours in ("runners", "containers") and package != ours:
            assert relative(path).startswith(SEES_RUNNERS), f"only {SEES_RUNNERS} see {ours}"


def sources_in(path: Path) -> Iterator[tuple[str, str]]:
    """The kinds of sources that a file imports from, each with the module within the kind's folder."""
    for name in imports(path):
        parts = name.split(".")
        if parts[:2] == ["transforms", "collection"] and len(parts) > 3 and parts[2] in SOURCES:
            yield parts[2], parts[3]


@pytest.mark.parametrize("path", [path for path in FILES if "collection" in path.parts], ids=relative)
def test_only_the_registry_knows_kinds_of_sources(path: Path) -> None:
    """A source's folder knows what all sources share, and no other source; what they share knows none of them."""
    for kind, module in sources_in(path):
        is_registered = relative(path) == "transforms/collection/sources.py" and module == "source"
        assert kind in path.parts or is_registered, f"{relative(path)} imports {kind}.{module}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_whatever_knows_jobs_knows_no_kind_of_source(path: Path) -> None:
    """It asks the protocol. A tool that is made for one kind, such as the collector for its log, knows no jobs.

    Not even a tool knows what a job file says of its source, unless it says the same in a pipeline without a job file.
    """
    place, known = relative(path), set(sources_in(path))
    knows_jobs = place.startswith(JOBS) or any(name.replace(".", "/").startswith(JOBS) for name in imports(path))
    assert not (knows_jobs and known), f"{place} knows jobs, and {known}"
    if "collection" not in path.parts and not place.startswith(ABOVE_STAGES):
        assert not [kind for kind, module in known if module in ("source", "spec")], f"{place} imports {known}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_only_the_registry_knows_kinds_of_sinks(path: Path) -> None:
    """Whatever a job asks of a sink it asks by the protocol."""
    place = relative(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[:2] == ["transforms", "storage"] and len(parts) > 2 and parts[2] in SINK_FOLDERS:
            is_own = place.startswith(f"transforms/storage/{parts[2]}/")
            assert is_own or place == "transforms/storage/sinks.py", f"{place} imports {name}"


def spellings(name: str) -> set[str]:
    """A name of the job file, however a source writes it: in small letters, without what is between the words."""
    return {name, name.replace("_", ""), name.replace("_", " "), name.replace("_", "-")}


@pytest.mark.parametrize("path", [path for path in FILES if "transforms/model" not in relative(path)], ids=relative)
def test_nothing_outside_the_models_knows_a_kind_of_model(path: Path) -> None:
    """Neither its modules nor its name, nor what only it is asked and gives: whoever wants to know asks the kind."""
    for name in imports(path):
        assert not name.startswith("transforms.model.kinds."), f"{relative(path)} imports {name}"
    text = path.read_text(encoding="utf-8").lower()
    found = sorted(word for word in WORDS_OF_KINDS if re.search(rf"\b{re.escape(word)}", text))
    assert found == [], f"{relative(path)} names what only a kind of model knows"


WORDS_OF_KINDS = {
    *(word for name in kinds() for word in spellings(name)),
    *("regression", "coefficient", "features", "fit_intercept", "forgetting_factor", "rmse"),
}
"""The kinds as the job file calls them, and what the first of them is asked and gives."""


@pytest.mark.parametrize("path", [path for path in FILES if "transforms/model" in relative(path)], ids=relative)
def test_a_kind_of_model_knows_no_other(path: Path) -> None:
    """What kinds share knows none of them, and finds them where they declare themselves."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    inside = parts[3] if parts[2:3] == ("kinds",) and len(parts) > 3 else None
    for name in imports(path):
        if name.startswith("transforms.model.kinds."):
            assert name.split(".")[3] == inside, f"{relative(path)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_nothing_outside_the_windows_knows_a_kind_of_windows(path: Path) -> None:
    """Whoever wants to know how event time is divided asks `Window`; a kind knows no other, and neither do they all."""
    own = relative(path).removesuffix(".py").replace("/", ".")
    for name in imports(path):
        if name.startswith("transforms.time.windows."):
            assert name.startswith(own) and own.startswith("transforms.time.windows."), (
                f"{relative(path)} imports {name}"
            )
    if not own.startswith("transforms.time.windows."):
        asked = {node.attr for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if _is_of_a_window(node)}
        assert sorted(asked & FIELDS_OF_WINDOWS) == []


FIELDS_OF_WINDOWS = {name for kind in windows().values() for name in {*kind.spec.model_fields, *vars(kind.spec)}}
FIELDS_OF_WINDOWS -= {*dir(Window)}
"""What only a kind of windows is asked: its fields, and what it has for itself."""


def _is_of_a_window(node: ast.AST) -> TypeGuard[ast.Attribute]:
    """Whether something is asked of what is called a window."""
    if not isinstance(node, ast.Attribute):
        return False
    asked = node.value
    return (isinstance(asked, ast.Attribute) and asked.attr == "window") or (
        isinstance(asked, ast.Name) and asked.id == "window"
    )


def test_imports_have_no_circles() -> None:
    """Not even those inside functions, or for types alone."""
    names = {_module(path): path for path in FILES}
    needs = {
        module: {found for name in imports(path) for found in _named(name, names)} for module, path in names.items()
    }
    done: set[str] = set()
    while ready := {module for module in needs if module not in done and needs[module] - {module} <= done}:
        done |= ready
    assert sorted(needs.keys() - done) == []


def _module(path: Path) -> str:
    return relative(path).removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _named(name: str, modules: Mapping[str, Path]) -> Iterator[str]:
    """The module of ours that an import names: itself, or the one that has it."""
    for found in (name, name.rpartition(".")[0]):
        if found in modules:
            yield found
            return


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_file_fits_in_a_head_and_says_what_it_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 400
    assert ast.get_docstring(ast.parse(text)), "a module begins with what it is"
    assert "from __future__ import annotations" not in text, "it switches Beam's type check off"


@pytest.mark.parametrize("path", FILES, ids=relative)
def test_a_function_fits_in_a_head(path: Path) -> None:
    """Without its signature and docstring; compiled loops may be longer, for calls between them are not inlined."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and "compiled" not in path.parts:
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1
            assert lines <= 40, f"{relative(path)}:{node.lineno} {node.name} has {lines} lines"


def test_no_public_function_or_class_lacks_its_contract() -> None:
    bare = []
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            if not ast.get_docstring(node) and relative(path) not in STEP_KERNELS:
                bare.append(f"{relative(path)}:{node.lineno} {node.name}")
    assert bare == []


STEP_KERNELS = {"transforms/preprocessing/steps.py"}
"""The specification of each step, in `spec.py`, says what its kernel does."""


def test_kernels_are_free_of_beam() -> None:
    drivers = {
        "transforms/aggregation/aggregate.py",
        "transforms/aggregation/by_watermark.py",
        "transforms/aggregation/lateness.py",
        "transforms/aggregation/live.py",
        "transforms/record/branches.py",
        "transforms/record/coder.py",
        "transforms/collection/follow.py",
        "transforms/collection/files/read.py",
        "transforms/collection/kafka/read.py",
        "transforms/collection/log/announce.py",
        "transforms/collection/log/read.py",
        "transforms/collection/restriction.py",
        "transforms/pipeline/aggregate.py",
        "transforms/pipeline/preprocess.py",
        "transforms/pipeline/read.py",
        "transforms/preprocessing/preprocess.py",
        "transforms/storage/live/store.py",
        "transforms/storage/records.py",
        "transforms/storage/store.py",
        "transforms/time/moment.py",
    }
    for path in FILES:
        if relative(path).startswith("transforms/") and relative(path) not in drivers:
            assert not any(name.split(".")[0] == "apache_beam" for name in imports(path)), relative(path)


def test_no_name_says_nothing() -> None:
    empty_words = ("util", "helper", "manager", "common", "misc", "base")
    for path in FILES:
        assert path.stem.lower() not in {*empty_words, *(f"{word}s" for word in empty_words)}, relative(path)


def test_the_top_level_is_fixed() -> None:
    ignored = {".venv", "build", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", "streamgauge.egg-info"}
    assert {path.name for path in ROOT.iterdir()} - ignored - {"__pycache__", ".streamgauge", "out"} <= TOP_LEVEL


def test_no_installed_distribution_shadows_our_packages() -> None:
    owners = packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {"streamgauge"}


def loads(module: str, *imported: str) -> bool:
    """Whether a module is loaded once others are imported, in a process of its own."""
    asked = f"import sys, {', '.join(imported)}; print({module!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


def test_transforms_is_a_table_of_contents_that_loads_nothing() -> None:
    assert not loads("apache_beam", "transforms")
    assert not loads("pydantic", "transforms")
    assert not loads("pyarrow", "transforms")


def test_only_text_needs_what_compiles() -> None:
    assert not loads("numba", "dataflow.graph", "dataflow.commands.run", "runners")


def test_what_builds_no_pipeline_does_not_wait_for_beam() -> None:
    files = (path for path in FILES if path.is_relative_to(ROOT / "dataflow/commands") and path.stem != "__init__")
    commands = [relative(path).removesuffix(".py").replace("/", ".") for path in files]
    assert loads("dataflow.commands.run", *commands)
    assert not loads("apache_beam", *commands, "dataflow.page.server")

"""Paths: a file is one file under all its spellings, and staging folders are no data."""

import os
import random
from pathlib import Path

import fsspec
import pytest

from tests.transforms.collection.outcome import TIME, column, read, schema_of
from transforms.collection.files.paths import list_files
from transforms.collection.files.spec import FilesSpec
from transforms.errors import SourceError

SCHEMA = schema_of({TIME: "int64"})


def sources(base: Path, *paths: str) -> list[str]:
    return [source for _, source in list_files(FilesSpec(paths=paths, format="jsonl"), str(base))]


def write(base: Path, *names: str) -> None:
    for name in names:
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_bytes(b'{"ts":1}\n')


def link(base: Path, name: str, target: str) -> None:
    (base / name).symlink_to(target)


def test_a_link_to_a_folder_does_not_count_its_files_again(tmp_path: Path) -> None:
    write(tmp_path, "data/2024-01-01/a.jsonl", "data/2024-01-02/a.jsonl")
    link(tmp_path, "data/latest", "2024-01-02")
    link(tmp_path, "data/again", ".")
    link(tmp_path, "data/nowhere", "nothing")
    link(tmp_path, "data/itself", "itself")
    expected = ["data/2024-01-01/a.jsonl", "data/2024-01-02/a.jsonl"]
    for pattern in ("data/**/*.jsonl", "data/*/a.jsonl", "**/*.jsonl", "data/**/**/a.jsonl", "data/**"):
        assert sources(tmp_path, pattern) == expected
    assert sources(tmp_path, "data/latest/*.jsonl", "data/**/*.jsonl") == ["data/latest/a.jsonl", expected[0]]


def test_names_without_links_are_taken_though_the_links_sort_before_them(tmp_path: Path) -> None:
    write(tmp_path, "z/a.jsonl")
    link(tmp_path, "current", "z")
    link(tmp_path, "z/0.jsonl", "a.jsonl")
    assert sources(tmp_path, "*/*.jsonl") == sources(tmp_path, "**/*.jsonl") == ["z/a.jsonl"]


def test_what_only_a_link_leads_to_is_read(tmp_path: Path) -> None:
    write(tmp_path, "disk/x/a.jsonl", "disk/b.jsonl", "data/c.jsonl")
    link(tmp_path, "data/more", "../disk")
    link(tmp_path, "data/d.jsonl", "../disk/b.jsonl")
    link(tmp_path, "disk/back", "../data")
    assert sources(tmp_path, "data/**/*.jsonl") == ["data/c.jsonl", "data/d.jsonl", "data/more/x/a.jsonl"]


def test_every_spelling_of_a_file_is_the_same_file(tmp_path: Path) -> None:
    write(tmp_path, "a.jsonl", "data/b.jsonl")
    link(tmp_path, "folder", "data")
    link(tmp_path, "link.jsonl", "a.jsonl")
    os.link(tmp_path / "a.jsonl", tmp_path / "hard.jsonl")
    spellings = ["./a.jsonl", "data/../a.jsonl", str(tmp_path / "a.jsonl"), f"file://{tmp_path}/a.jsonl", "*.jsonl"]
    spellings += ["link.jsonl", "hard.jsonl", f"local://{tmp_path}/[a-z]*.jsonl", f"file://{tmp_path}/data/../a.jsonl"]
    dice = random.Random(5)
    for _ in range(30):
        dice.shuffle(spellings)
        assert len(sources(tmp_path, *spellings)) == 1
    assert sources(tmp_path, "a.jsonl", *spellings) == ["a.jsonl"]
    assert sources(tmp_path, "folder/b.jsonl", "data/b.jsonl") == ["folder/b.jsonl"]
    assert sources(tmp_path, f"file://{tmp_path}/data/*.jsonl") == [f"file://{tmp_path}/data/b.jsonl"]


def test_hidden_names_are_passed_over_under_a_glob(tmp_path: Path) -> None:
    hidden = ["_temporary/0/a.jsonl", "_started_1.jsonl", ".a.jsonl", ".git/a.jsonl", "x/_staging/b/a.jsonl"]
    write(tmp_path, "x/a.jsonl", "x/_day=1/a.jsonl", *hidden)
    assert sources(tmp_path, "**/*.jsonl") == ["x/_day=1/a.jsonl", "x/a.jsonl"]
    with pytest.raises(SourceError, match=r"no file matches \*\.jsonl \(looked in"):
        sources(tmp_path, "*.jsonl")


def test_hidden_names_that_a_pattern_names_are_read(tmp_path: Path) -> None:
    write(tmp_path, "_temporary/0/a.jsonl", "_started_1.jsonl", ".a.jsonl", "x/_staging/a.jsonl", "x/b.jsonl")
    assert sources(tmp_path, "_temporary/*/*.jsonl") == ["_temporary/0/a.jsonl"]
    assert sources(tmp_path, "_*.jsonl", "[.]*.jsonl") == ["_started_1.jsonl", ".a.jsonl"]
    assert sources(tmp_path, "**/_staging/*.jsonl") == ["x/_staging/a.jsonl"]
    assert sources(tmp_path, "_started_1.jsonl") == ["_started_1.jsonl"]
    assert sources(tmp_path / "_temporary", "**/*.jsonl") == ["0/a.jsonl"]


def test_hidden_names_of_a_url_are_passed_over_alike() -> None:
    memory = fsspec.filesystem("memory")
    for name in ("a", "_b", "x/.c", "x/d", "_t/e", "x/_day=1/f"):
        memory.pipe(f"/_paths/{name}.jsonl", b'{"ts":1}\n')
    base = "memory:///_paths/"
    found = sources(Path("/"), "memory://_paths/**")
    assert [name.removeprefix(base) for name in found] == ["a.jsonl", "x/_day=1/f.jsonl", "x/d.jsonl"]
    assert sources(Path("/"), "memory://_paths/_*.jsonl") == [f"{base}_b.jsonl"]
    assert sources(Path("/"), "memory://_paths/_t/*") == [f"{base}_t/e.jsonl"]


def test_a_name_with_colons_is_a_name(tmp_path: Path) -> None:
    write(tmp_path, "a::b.jsonl", "zip::c.jsonl")
    assert sources(tmp_path, "*.jsonl") == ["a::b.jsonl", "zip::c.jsonl"]
    assert column(read("*.jsonl", SCHEMA, base=str(tmp_path)), TIME) == [1, 1]
    assert column(read("a::b.jsonl", SCHEMA, base=str(tmp_path)), TIME) == [1]
    assert column(read(f"file://{tmp_path}/a::b.jsonl", SCHEMA), TIME) == [1]


def test_a_name_that_is_not_utf_8_is_shown_and_refused(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"b\xff.jsonl")).write_bytes(b'{"ts":1}\n')
    for path in ("*.jsonl", os.fsdecode(b"b\xff.jsonl"), f"file://{tmp_path}/*"):
        with pytest.raises(
            SourceError, match=r"^source\.files\.paths: the name of .*b\\xff\.jsonl is not UTF-8"
        ) as caught:
            sources(tmp_path, path)
        str(caught.value).encode()


def test_what_cannot_be_looked_at_is_an_error_and_not_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders so deep that no path is long enough for them: unlike locked ones, they keep root out too."""
    write(tmp_path, "a.jsonl")
    monkeypatch.chdir(tmp_path)
    for _ in range(25):
        os.mkdir("x" * 200)
        os.chdir("x" * 200)
    with pytest.raises(SourceError, match=r"^source\.files\.paths: \*\*/\*\.jsonl cannot be searched for: .*too long$"):
        sources(tmp_path, "**/*.jsonl")
    with pytest.raises(SourceError, match=r"cannot be searched for: .*too long$"):
        sources(tmp_path, "y" * 300)

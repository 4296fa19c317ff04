"""The English of comments, docstrings, texts and documents: plain words, and the field's terms."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]

COMPARATIVES: Final = (
    r"(?:long|short|larg|small|great|few|high|low|lat|earli|new|old|fast|slow|bett|furth)er"  # "is no longer" is right
)

WRITTEN: Final = {
    r"\btold\b|\btell(?:s|ing)?\b": "say, report, inform; distinguish; determine",
    r"\b(?:go|goes|going|gone|went) on\b": "continue, resume",
    rf"(?<!there )\b(?:is|are|was|were) no (?!{COMPARATIVES}\b)": "is not a",
    r"\b(?:nobody|somebody|anybody|everybody|everyone|someone|whoever)\b": "the actor: the caller, a process, a client",
    r"(?<!begin-)\banew\b": "again, from nothing, newly",
    r"\bbeside\b": "next to, in addition to",
    r"\bbehind (?:a|an|the|all|any|each|every|one|another|it|its|them|their|this|that|these|those)\b": "after",
    r"(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )(?<!\bfalls )\bbehind \w": "after; `is behind` of what lags is right",
    r"\b(?:not|no|never|cannot)\b[^.;:]{0,40} any ?more\b": "no longer",
    r"\bwhose (?:\S+ )?is another\b": "`x` has changed",
    r"\bfor people\b": "in words",
}
"""Patterns that stop a reader, and what to write instead."""

PYTHON: Final = ("dataflow", "transforms", "runners", "containers", "benchmarks", "docs", "examples")
DOCUMENTS: Final = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
OTHERS: Final = ("docs", *DOCUMENTS, "dataflow/page", "containers", "examples/flights.yaml", "examples/live.yaml")
OTHER_SUFFIXES: Final = (".md", ".js", ".jinja", ".yml", ".yaml", "")


def files() -> Iterator[Path]:
    for place in map(ROOT.joinpath, PYTHON):
        yield from [place] if place.is_file() else sorted(place.rglob("*.py"))
    for place in map(ROOT.joinpath, OTHERS):
        found = [place] if place.is_file() else sorted(place.rglob("*"))
        yield from (path for path in found if path.is_file() and path.suffix in OTHER_SUFFIXES)


def prose_of(path: Path) -> Iterator[tuple[int, str]]:
    """The comments and texts of Python, with their lines; of another file, its paragraphs."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        line = 1
        for paragraph in text.split("\n\n"):
            yield line, paragraph
            line += paragraph.count("\n") + 2
        return
    kinds = (tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", -1))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in kinds:
            yield token.start[0], token.string


def without_names(text: str) -> str:
    """The prose without what it quotes: code, expressions within texts, and the names of arguments."""
    text = re.sub(r"^ *>>> .*$|^ *\w+(?:, \w+)*: |```.*?```|`[^`\n]*`|\{[^{}]*\}", " … ", text, flags=re.M | re.S)
    return re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("path", sorted(files()), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_sentence_stops_a_reader(path: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {match[0]!r} in {prose[max(match.start() - 30, 0) : match.end() + 30]!r},"
        f" write: {instead}"
        for line, text in prose_of(path)
        for prose in [without_names(text)]
        for pattern, instead in WRITTEN.items()
        for match in re.finditer(pattern, prose, re.IGNORECASE)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "sentence",
    [
        "the job is told",
        "goes on from there",
        "it is no file",
        "it is no number",
        "nobody waits",
        "everybody waits",
        "begins anew",
        "beside it",
        "behind the log",
        "a row behind checkpoints",
    ],
)
def test_the_patterns_find_their_words(sentence: str) -> None:
    assert any(re.search(pattern, without_names(sentence), re.IGNORECASE) for pattern in WRITTEN)


@pytest.mark.parametrize(
    "sentence",
    [
        "there is no log",
        "it is no longer there",
        "it is no larger",
        "`--begin-anew` empties them",
        "the job is behind",
        "a job that is behind reads ahead",
        "it leaves files behind, and ends",
    ],
)
def test_the_patterns_let_good_sentences_pass(sentence: str) -> None:
    assert not any(re.search(pattern, without_names(sentence), re.IGNORECASE) for pattern in WRITTEN)

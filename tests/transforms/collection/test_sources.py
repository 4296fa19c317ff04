"""A kind of source is registered if it defines what it says that it can; the kinds of this version do."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from transforms.collection.files.source import FilesSource
from transforms.collection.log.source import LogSource
from transforms.collection.source import Source
from transforms.collection.sources import SOURCES, register
from transforms.specification import Spec
from transforms.time.watermark import NEVER


class StreamSpec(Spec):
    stream: str


class TwoFields(Spec):
    first: str
    stream: str


class Stream(LogSource):
    kind: ClassVar[str] = "stream"
    spec: ClassVar[type[Spec]] = StreamSpec


class Progress:
    """Another class of the name that the log's has."""

    watermark = NEVER


def kind(*of: type[Source], **fields: Any) -> type[Source]:
    """A kind like Stream, or like another one, but for some fields."""
    return type("Other", of or (Stream,), fields)


DEFAULT: Mapping[str, Any] = vars(Source)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (kind(kind="log"), "a source named log is registered already"),
        (kind(spec=TwoFields), "the specification of the source stream must have one field, stream"),
        (kind(describe=DEFAULT["describe"]), "the source stream must define describe"),
        (kind(until=DEFAULT["until"], is_empty=DEFAULT["is_empty"]), "the source stream must define until, is_empty"),
        (kind(resume=DEFAULT["resume"]), "the source stream must define resume"),
        (kind(reached=DEFAULT["reached"], replays=False), "the source stream must define reached"),
        (kind(brings_types=lambda spec: True), "the source stream must define types"),
        (
            kind(FilesSource, kind="stream", spec=StreamSpec, follows=True),
            "the source stream must define progress, begin, resume, feed, span, reached, until, between, is_empty,"
            " words_of",
        ),
        (kind(progress=Progress), "the source stream must have a progress of its own name, is Progress"),
    ],
)
def test_a_kind_that_lacks_what_it_says_it_can_is_refused(other: type[Source], said: str) -> None:
    with pytest.raises(ValueError) as refused:
        register(other)
    assert str(refused.value) == said
    assert "stream" not in SOURCES


def test_the_kinds_of_this_version_define_what_they_say_they_can() -> None:
    for known in list(SOURCES.values()):
        register(known)
    assert {name: (known.follows, known.replays) for name, known in SOURCES.items()} == {
        "files": (False, True),
        "log": (True, True),
        "kafka": (True, True),
    }


def test_a_kind_that_is_read_only_once_need_not_say_how_it_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(SOURCES, "log")
    again = ("until", "between", "is_empty", "words_of")
    once = kind(replays=False, kind="log", spec=LogSource.spec, **{name: DEFAULT[name] for name in again})
    register(once)
    assert SOURCES["log"] is once

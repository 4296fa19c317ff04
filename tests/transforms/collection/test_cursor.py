"""What is left of a source, as engines keep it."""

import json
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from transforms.collection.cursor import SourceCursor, Unread
from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.log.source import LogSource
from transforms.collection.restriction import FORMAT, CursorCoder
from transforms.collection.sources import SOURCES
from transforms.time.watermark import Progress

RESTS = [
    SourceCursor(),
    SourceCursor(7, Progress(5, 6, {"a": (1, 2)}), 70, 1.5, True, 4, 3, 9, None, True),
    SourceCursor(3, KafkaProgress(-9, 8).beginning_at({0: 4, 11: 5}), 9, began={"0": 4, "11": 5}),
]


@pytest.mark.parametrize("cursor", RESTS)
def test_a_cursor_comes_back_as_it_was(cursor: SourceCursor) -> None:
    assert CursorCoder().decode(CursorCoder().encode(cursor)) == cursor


def test_a_savepoint_of_a_newer_version_is_refused() -> None:
    newer = {**json.loads(CursorCoder().encode(RESTS[0])), "format": FORMAT + 1}
    with pytest.raises(ValueError, match="newer version"):
        CursorCoder().decode(json.dumps(newer).encode())


def test_a_savepoint_holds_the_names_that_earlier_versions_gave_and_read() -> None:
    """What version 0.2.0 wrote, and what it must still find."""
    written = {
        "format": 1,
        "kind": "Progress",
        "progress": {"watermark": 5, "elapsed": 6, "heard": {"a": [1, 2]}},
        "chunk": 7,
        "position": 70,
        "kept_at": 1.5,
        "is_kept": True,
        "told": 4,
        "untold": 3,
        "shift": 9,
        "began": None,
        "ended": True,
    }
    assert CursorCoder().decode(json.dumps(written).encode()) == RESTS[1]
    assert json.loads(CursorCoder().encode(RESTS[1])) == written
    nothing = {**written, "kind": "", "progress": None}
    assert isinstance(CursorCoder().decode(json.dumps(nothing).encode()).progress, Unread)


class Elsewhere(Progress):
    """The progress of a source that only some processes register."""

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> "Elsewhere":
        return Elsewhere(content["watermark"])


def test_a_worker_finds_the_progress_of_a_plugin_that_it_never_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SOURCES, "elsewhere", type("Plugin", (LogSource,), {"progress": Elsewhere}))
    sent, encoded = pickle.dumps(CursorCoder()), CursorCoder().encode(SourceCursor(1, Elsewhere(7)))
    monkeypatch.delitem(SOURCES, "elsewhere")
    assert isinstance(pickle.loads(sent).decode(encoded).progress, Elsewhere)
    with pytest.raises(ValueError, match="holds Elsewhere, the progress of a source that no plugin of this job adds"):
        CursorCoder().decode(encoded)

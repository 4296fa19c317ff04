"""What is left of a source, as engines keep it."""

import json

import pytest

from transforms.collection.cursor import SourceCursor
from transforms.collection.kafka.progress import KafkaProgress
from transforms.collection.restriction import FORMAT, CursorCoder
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

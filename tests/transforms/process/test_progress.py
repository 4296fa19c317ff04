"""The bulletin of a run: what of its rows is still shown."""

from datetime import datetime, timedelta, timezone
from typing import Any

import pyarrow as pa

from transforms.process.progress import Bulletin

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def row(start: int, end: int, k: str | None = "a", *, final: bool = False) -> dict[str, Any]:
    bounds = {"window_start": EPOCH + timedelta(seconds=start), "window_end": EPOCH + timedelta(seconds=end)}
    return {**bounds, "k": k, "rows": 1, "final": final}


def test_rows_that_were_retracted_are_shown_no_more_and_the_numbers_of_the_others_stay() -> None:
    bulletin = Bulletin()
    bulletin.show("t", pa.RecordBatch.from_pylist([row(0, 10), row(0, 20), row(5, 15, final=True)]))
    bulletin.show("other", pa.RecordBatch.from_pylist([row(0, 10)]))
    bulletin.show("t", pa.RecordBatch.from_pylist([row(0, 10, None), row(3, 20)]))
    windows = pa.RecordBatch.from_pylist([row(0, 20)]).select(["window_start", "window_end", "k"])
    bulletin.retract("t", windows)
    assert [(number, table) for number, table, _ in bulletin.rows_after(0)] == [
        (2, "t"),
        (3, "t"),
        (4, "other"),
        (5, "t"),
    ]
    bulletin.show("t", pa.RecordBatch.from_pylist([row(30, 40)]))
    assert [number for number, _, _ in bulletin.rows_after(3, most=2)] == [4, 5]
    assert bulletin.stored == 7

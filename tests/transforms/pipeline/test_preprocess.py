"""Steps in a pipeline of one's own."""

from datetime import datetime, timezone
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing import test_pipeline as testing
from apache_beam.testing.util import assert_that

import transforms as sg
from transforms.testing import holds

NOON = datetime(2024, 1, 1, 12, tzinfo=timezone.utc)
COLUMNS = {"at": "timestamp", "k": "string?", "x": "float64?"}


def test_steps_give_batches_dead_letters_and_a_ledger() -> None:
    rows = [{"at": NOON, "k": " a ", "x": 1.0}, {"at": NOON, "k": "b", "x": None}, {"at": NOON, "k": "-", "x": 2.0}]
    batch = sg.batch_of(rows, event_time="at", schema=COLUMNS)
    steps: list[dict[str, Any]] = [
        {"trim": "k"},
        {"drop_nulls": "x"},
        {"derive": {"y": "CAST(replace(k, 'a', '7') AS BIGINT)"}},
    ]
    clean = sg.Preprocess(steps=steps, columns=COLUMNS)
    assert clean.columns_after == {"at": "timestamp", "k": "string", "x": "float64", "y": "int64"}
    with testing.TestPipeline(runner=FnApiRunner()) as pipeline:
        found = pipeline | beam.Create([batch]) | clean
        assert_that(found.batches, holds([{"k": "a", "x": 1.0, "y": 7}]), "batches")
        letter = {"stage": "preprocess:derive", "reason": "expression_failed", "position": 2, "payload": None}
        assert_that(found.dead_letters, holds([letter]), "dead letters")
        assert_that(found.ledger, holds([{"accepted": 1, "dead": 1, "filtered": 1}]), "ledger")


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([{"trm": "k"}], "steps[0]: must be a mapping with one of the steps trim, "),
        ([{"trim": "k"}, {"clip": {"x": [1, "a"]}}], "steps[1].clip.x[1]: must be [LOW, HIGH], each a number or null"),
        ([{"trim": "kk"}], "steps[0].trim[0]: there is no column kk at this step; there are at, k, x"),
        ([{"filter": "y > 1"}], "steps[0].filter: "),
    ],
)
def test_a_wrong_step_is_named_where_the_transform_is_constructed(steps: list[dict[str, Any]], words: str) -> None:
    with pytest.raises(sg.SpecError) as refused:
        sg.Preprocess(steps=steps, columns=COLUMNS)
    assert str(refused.value).startswith(words)
    assert len(refused.value.problems) == 1

"""Steps: each by itself, what it does and what is refused when it is planned."""

import hashlib
import hmac
import random
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.transforms.preprocessing.rows import COLUMNS, batch, names, plan, rows
from transforms.preprocessing.steps import StepError, Stepped
from transforms.record.batch import POSITION

LARGEST = 2**63 - 1
MOMENT = datetime(2013, 1, 1, tzinfo=timezone.utc)
HERE = "tests.transforms.preprocessing.functions"


def run(step: dict[str, Any], **columns: list[Any]) -> Stepped:
    stepped = plan(step).kernel(batch(**columns))
    size = len(next(iter(columns.values())))
    assert stepped.batch.num_rows + len(stepped.failed) + stepped.filtered == size
    return stepped


def refusal(step: dict[str, Any]) -> tuple[tuple[str | int, ...], str]:
    """Where in the step, and why it cannot be planned."""
    with pytest.raises(StepError) as raised:
        plan(step)
    return raised.value.place, str(raised.value)


def test_trim_cuts_white_space_of_any_kind_off_both_ends() -> None:
    given = [" a ", "\t\n\r", "\u2003b\u00a0c\u3000", None, ""]
    assert rows(run({"trim": "s"}, s=given).batch, "s") == ["a", "", "b\u00a0c", None, ""]


def test_drop_nulls_drops_records_in_which_one_of_the_columns_is_null() -> None:
    stepped = run({"drop_nulls": ["i", "s"]}, i=[1, None, 3, None], s=["", "b", None, None], f=[None] * 4)
    assert rows(stepped.batch, "i", "s", POSITION) == [(1, "", 0)]
    assert (stepped.filtered, stepped.failed) == (3, {})


@pytest.mark.parametrize(
    "column, value, filled",
    [
        ("i", -(2**63), -(2**63)),
        ("f", 1, 1.0),
        ("f", 0.5, 0.5),
        ("s", "", ""),
        ("b", False, False),
        ("t", "2013-01-01", MOMENT),
        ("t", "2013-01-01T00:00:00Z", MOMENT),
        ("t", "2013-01-01 05:30:00+05:30", MOMENT),
        ("t", "20130101T000000,0Z", MOMENT),
    ],
)
def test_fill_puts_a_value_where_null_was(column: str, value: object, filled: object) -> None:
    assert rows(run({"fill": {column: value}}, **{column: [None, None]}).batch, column) == [filled, filled]


UNFIT: dict[str, list[object]] = {
    "i": [1.5, 1.0, "1", True, 2**63, 10**30],
    "f": ["1", True, float("inf"), float("nan"), 10**400],
    "s": [5, "a\0b"],
    "b": [1, "true"],
    "t": ["soon", 5, "infinity", "9998-01-01", "", "2013/01/01", "2013-1-1", "2013-01-01T00:00:00 BST"],
}


@pytest.mark.parametrize("column, value", [(column, value) for column, values in UNFIT.items() for value in values])
def test_fill_refuses_a_value_of_another_type(column: str, value: object) -> None:
    place, sentence = refusal({"fill": {column: value}})
    assert place == ("fill", column)
    assert sentence.endswith(f"is not a {COLUMNS[column]}, which is the type of {column}")


def test_clip_moves_numbers_to_the_nearer_bound_and_leaves_null() -> None:
    stepped = run({"clip": {"f": [-1, 2.5], "i": [2**53 + 1, None]}}, f=[-9.0, None, 2.5, 9.0], i=[1, None, LARGEST, 2])
    assert rows(stepped.batch, "f") == [-1.0, None, 2.5, 2.5]
    assert rows(stepped.batch, "i") == [2**53 + 1, None, LARGEST, 2**53 + 1]


def test_clip_without_bounds_changes_nothing() -> None:
    assert rows(run({"clip": {"i": [None, None]}}, i=[-LARGEST, None]).batch, "i") == [-LARGEST, None]


@pytest.mark.parametrize("bounds", [[0.5, None], [None, 1e30], [2**63, None], [None, 10**400]])
def test_clip_refuses_a_bound_that_is_no_int64_for_integers(bounds: list[float | None]) -> None:
    place, sentence = refusal({"clip": {"i": bounds}})
    assert place == ("clip", "i")
    assert sentence.endswith("is not a valid bound for i, which is int64")


@pytest.mark.parametrize("bounds", [[2, 1], [float("nan"), 1], [None, float("inf")], [1], ["a", None]])
def test_clip_refuses_bounds_that_are_none(bounds: list[object]) -> None:
    with pytest.raises(ValidationError):
        plan({"clip": {"f": bounds}})


def test_derive_adds_and_replaces_columns_each_seeing_those_before() -> None:
    step = plan({"derive": {"x": "i + 1", "y": "x * 2", "i": "y + i"}})
    assert dict(step.columns) == {**COLUMNS, "x": "int64", "y": "int64"}
    found = step.kernel(batch(i=[1, None])).batch
    assert rows(found, "x", "y", "i") == [(2, 4, 5), (None, None, None)]
    assert names(found) == [*COLUMNS, "x", "y"]


def test_derive_loses_the_rows_on_which_any_expression_fails_for_the_first_reason() -> None:
    stepped = run({"derive": {"x": "i + 1", "y": "s::INTEGER"}}, i=[1, LARGEST, 1, LARGEST], s=["1", "1", "x", "x"])
    assert rows(stepped.batch, "x", "y") == [(2, 1)]
    assert {row: text.split(":")[0] for row, text in stepped.failed.items()} == {1: "x", 2: "y", 3: "x"}


@pytest.mark.parametrize(
    "derived, sentence",
    [
        ({"x": "zz"}, "there is no column zz; there are i, f, s, b, t (`zz`)"),
        ({"x": "sum(i)"}, "must use scalar functions only; sum is an aggregate (`sum(i)`)"),
        ({"x": ""}, "must be an SQL expression, is empty (``)"),
        ({"@position": "i"}, "'@position' is reserved"),
        ({"": "i"}, "'' is reserved"),
        ({"I": "i + 1"}, "I differs from i only in case, which SQL ignores"),
    ],
)
def test_derive_names_what_is_wrong(derived: dict[str, str], sentence: str) -> None:
    assert refusal({"derive": derived}) == (("derive", next(iter(derived))), sentence)


def test_filter_keeps_true_and_counts_false_and_null() -> None:
    stepped = run({"filter": "i > 1 AND b"}, i=[1, 2, None, 4], b=[True, True, True, None])
    assert rows(stepped.batch, POSITION) == [1]
    assert (stepped.filtered, stepped.failed) == (3, {})


def test_filter_loses_the_rows_on_which_it_fails() -> None:
    stepped = run({"filter": "s::INTEGER > 1"}, s=["1", "x", None, "5"])
    assert rows(stepped.batch, "s") == ["5"]
    assert (stepped.filtered, stepped.failed) == (2, {1: "`s::INTEGER > 1` fails on s='x'"})


def test_filter_must_be_a_condition() -> None:
    assert refusal({"filter": "i + 1"}) == (("filter",), "must be a condition, and gives a int64 (`i + 1`)")


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.none() | st.text(max_size=5).filter(lambda t: "\0" not in t and t.isprintable())),
    st.text("ab", min_size=1),
)
def test_pseudonyms_are_keyed_digests_and_null_stays_null(texts: list[str | None], key: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREAMGAUGE_TEST_KEY", key)
        step = {"pseudonymise": {"columns": ["s", "i"], "key_env": "STREAMGAUGE_TEST_KEY"}}
        found = run(step, s=[*texts, "x"], i=[*range(len(texts)), None]).batch

    def digest(value: object) -> str:
        return hmac.new(key.encode(), str(value).encode(), hashlib.sha256).hexdigest()

    assert rows(found, "s") == [*(None if text is None else digest(text) for text in texts), digest("x")]
    assert rows(found, "i") == [*(digest(number) for number in range(len(texts))), None]


@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_key_is_named_when_the_step_is_planned(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMGAUGE_TEST_KEY", raising=False)
    if value is not None:
        monkeypatch.setenv("STREAMGAUGE_TEST_KEY", value)
    found = refusal({"pseudonymise": {"columns": "s", "key_env": "STREAMGAUGE_TEST_KEY"}})
    assert found == (("pseudonymise", "key_env"), "the environment variable STREAMGAUGE_TEST_KEY is not set")


SPLIT = {"split": {"into": {"train": 0.7, "test": 0.2, "rest": 0.1}, "by": ["s"]}}


def test_split_sends_a_value_to_one_side_whatever_stands_beside_it() -> None:
    texts = [f"v{number % 500}" for number in range(1000)] + [None, ""]
    whole = rows(run(SPLIT, s=texts).batch, "split")
    assert whole[:500] == whole[500:1000]
    shuffled = random.Random(1).sample(range(len(texts)), len(texts))
    assert rows(run(SPLIT, s=[texts[row] for row in shuffled]).batch, "split") == [whole[row] for row in shuffled]
    assert [rows(run(SPLIT, s=[text]).batch, "split")[0] for text in texts[:20]] == whole[:20]


def test_split_comes_close_to_its_shares_for_every_type() -> None:
    rng = random.Random(2)
    given: dict[str, list[Any]] = {
        "s": [f"name {rng.random()}" for _ in range(20_000)],
        "i": list(range(20_000)),
        "f": [float(number) for number in range(20_000)],
        "t": [datetime.fromtimestamp(3600 * number, timezone.utc) for number in range(20_000)],
    }
    for name, values in given.items():
        split = {"split": {**SPLIT["split"], "by": [name]}}
        sides = rows(run(split, **{name: values}).batch, "split")
        shares = {side: sides.count(side) / len(sides) for side in set(sides)}
        assert shares == pytest.approx({"train": 0.7, "test": 0.2, "rest": 0.1}, abs=0.015)


def test_split_does_not_change_from_release_to_release() -> None:
    found = rows(run(SPLIT, s=["a", "b", "c", "d", "e", None, "", "é"]).batch, "split")
    assert found == ["train", "train", "train", "test", "train", "train", "train", "test"]


@pytest.mark.parametrize("into", [{}, {"a": 0.5, "b": 0.4}, {"a": 1.5, "b": -0.5}, {"a": 0.0, "b": 1.0}])
def test_split_refuses_shares_that_do_not_add_up(into: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        plan({"split": {"into": into, "by": "s"}})


def test_split_takes_no_column_s_place() -> None:
    assert refusal({"apply": f"{HERE}:take_a_reserved_name"}) == (("apply",), "'@position' is reserved")
    with pytest.raises(StepError, match="there already is a column `split`"):
        plan(SPLIT, {**COLUMNS, "split": "string"})
    with pytest.raises(StepError, match="split differs from Split only in case"):
        plan(SPLIT, {**COLUMNS, "Split": "string"})


@pytest.mark.parametrize(
    "step, place",
    [
        ({"trim": ["s", "zz"]}, ("trim", 1)),
        ({"drop_nulls": "zz"}, ("drop_nulls", 0)),
        ({"fill": {"zz": 1}}, ("fill", "zz")),
        ({"clip": {"zz": [1, 2]}}, ("clip", "zz")),
        ({"pseudonymise": {"columns": ["s", "zz"], "key_env": "PATH"}}, ("pseudonymise", "columns", 1)),
        ({"split": {"into": {"a": 1.0}, "by": ["s", "zz"]}}, ("split", "by", 1)),
    ],
)
def test_a_column_that_is_not_there_is_named_with_its_place(step: dict[str, Any], place: tuple[str | int, ...]) -> None:
    assert refusal(step) == (place, "there is no column zz at this step; there are i, f, s, b, t")


@pytest.mark.parametrize(
    "step, sentence",
    [
        ({"trim": "i"}, "i is a int64; trim needs string"),
        ({"clip": {"s": [1, 2]}}, "s is a string; clip needs float64 or int64"),
        ({"pseudonymise": {"columns": "f", "key_env": "PATH"}}, "f is a float64; pseudonymise needs int64 or string"),
        ({"apply": f"{HERE}:differ_in_case"}, "I differs from i only in case, which SQL ignores"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(step: dict[str, Any], sentence: str) -> None:
    assert refusal(step)[1] == sentence


@pytest.mark.parametrize("step", [{"nope": 1}, {"trim": "s", "fill": {"s": ""}}, "trim", [], {"apply": "no colon"}])
def test_what_is_no_step_is_refused(step: Any) -> None:
    with pytest.raises(ValidationError):
        plan(step)

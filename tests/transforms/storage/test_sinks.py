"""A kind of sink is registered if it defines what it says that it has; the kinds of this version do."""

from collections.abc import Mapping
from typing import Any, ClassVar

import pytest

from transforms.specification import Spec
from transforms.storage.parquet.sink import ParquetSink
from transforms.storage.sink import Sink
from transforms.storage.sinks import SINKS, register, retracts, stores_live


class WholeSpec(Spec):
    whole: str


class TwoFields(Spec):
    first: str
    whole: str


class Whole(ParquetSink):
    kind: ClassVar[str] = "whole"
    spec: ClassVar[type[Spec]] = WholeSpec
    journal: ClassVar[str] = "whole"


def kind(**fields: Any) -> type[Sink]:
    """A kind like Whole but for some fields."""
    return type("Other", (Whole,), fields)


DEFAULT: Mapping[str, Any] = vars(Sink)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (kind(kind="parquet"), "a sink named parquet is registered already"),
        (kind(spec=TwoFields), "the specification of the sink whole must have one field, whole"),
        (kind(journal="folders"), "the sink whole must have a `journal` of its own, is folders"),
        (kind(journal="run"), "the sink whole must have a `journal` of its own, is run"),
        (kind(journal=""), "the sink whole must define publish"),
        (kind(discard=DEFAULT["discard"]), "the sink whole must define discard"),
        (kind(continued=DEFAULT["continued"]), "the sink whole must define continued"),
        (kind(restored=DEFAULT["restored"], whole=DEFAULT["whole"]), "the sink whole must define whole, restored"),
        (kind(has_position=True), "the sink whole must define transactions"),
        (kind(stores_at_once=True), "the sink whole must define take, store, roll_back, expire, last_closed"),
        (kind(places=DEFAULT["places"]), "the sink whole must define places"),
    ],
)
def test_a_kind_that_lacks_what_it_says_it_has_is_refused(other: type[Sink], said: str) -> None:
    with pytest.raises(ValueError) as refused:
        register(other)
    assert str(refused.value) == said
    assert "whole" not in SINKS


def test_the_kinds_of_this_version_define_what_they_say_they_have_and_store_live_jobs() -> None:
    for known in list(SINKS.values()):
        register(known)
        assert stores_live(known)


def test_a_kind_without_a_way_to_store_checkpoints_does_not_store_live_jobs() -> None:
    assert not stores_live(type("Bounded", (ParquetSink,), {"folders": DEFAULT["folders"]}))


@pytest.mark.parametrize("kind", SINKS.values(), ids=SINKS)
def test_our_own_kinds_have_what_they_say(kind: type[Sink]) -> None:
    register(kind)


def test_a_sink_keeps_up_with_windows_that_grow_if_it_retracts_or_has_no_provisional_rows() -> None:
    assert all(retracts(each) for each in SINKS.values())
    assert retracts(Whole) and not retracts(kind(stores_at_once=True))

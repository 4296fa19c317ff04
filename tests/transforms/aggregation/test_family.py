"""Families of statistics: what they declare is all that there is to say of a statistic."""

import re

import pytest

from transforms.aggregation.family import (
    Family,
    all_statistics,
    families,
    family_of,
    is_statistic,
    meant,
    names_pattern,
)
from transforms.record.batch import ARROW


def test_no_two_statistics_have_a_name_in_common() -> None:
    samples = [name for family in families().values() for statistic in family.statistics for name in statistic.samples]
    names = [*(statistic.name for statistic in all_statistics() if not statistic.pattern), *samples]
    assert len(set(names)) == len(names)
    for name in names:
        assert [statistic.is_named(name) for statistic in all_statistics()].count(True) == 1, name
        assert re.match(names_pattern(), name), name
    assert [family.order for family in families().values()] == sorted({family.order for family in families().values()})


@pytest.mark.parametrize("family", families().values(), ids=lambda family: family.name)
def test_a_family_answers_what_it_declares(family: Family) -> None:
    for kind in ARROW:
        if kind in family.takes:
            assert len(family.accumulator(kind).schema) > 0
    for name in family.samples:
        assert family_of(name) is family or family_of(name).name in family.includes
    for statistic in family.statistics:
        assert statistic.meaning and statistic.title_of(statistic.samples[0] if statistic.pattern else statistic.name)
        assert not statistic.pattern or statistic.samples, "a form has samples, which the laws are tried on"


def test_what_others_call_a_statistic_is_none_here_and_points_to_one() -> None:
    for statistic in all_statistics():
        for other, name in statistic.also.items():
            assert is_statistic(name) and not is_statistic(other) and statistic.is_named(name)
            assert meant([other.upper()]) == f" ({other.upper()} is {name} here)"

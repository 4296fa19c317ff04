"""The range of a column of numbers: the largest value less the smallest."""

import pyarrow as pa
import pyarrow.compute as pc

from transforms.aggregation.accumulator import State
from transforms.aggregation.family import Family, Statistic
from transforms.aggregation.statistics.extremes import Extremes
from transforms.record.batch import ARROW


class Spread(Extremes):
    """`range`, as float64."""

    def finish(self, state: State, statistic: str) -> pa.Array:
        return pc.subtract(state["high"].cast(pa.float64()), state["low"].cast(pa.float64()))


FAMILY = Family(
    name="spread",
    order=100,
    statistics=(Statistic(name="range", meaning="the largest value less the smallest", title="Range", is_amount=True),),
    accumulator=lambda kind: Spread(ARROW[kind]),
    takes=frozenset({"int64", "float64"}),
)

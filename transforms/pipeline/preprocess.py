"""Preparing records in a pipeline of your own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import pyarrow as pa

from transforms.pipeline.arguments import types_of
from transforms.preprocessing import preprocess as stage
from transforms.preprocessing.spec import STEPS, StepSpec
from transforms.preprocessing.steps import Step, StepError, plan_step
from transforms.record.branches import Outputs
from transforms.refusal import SpecError, sentence_at, validated
from transforms.specification import ColumnType, Spec


class StepsSpec(Spec):
    """`preprocess` of a job file."""

    steps: tuple[StepSpec, ...]


@dataclass(eq=False, kw_only=True)
class Preprocess(beam.PTransform):
    """Cleans, derives, filters and splits records.

    Apply it to batches. The result has three collections of `pyarrow.RecordBatch`: `batches` with
    `columns_after` (`@position` and `@event_time` stay as they were read), `dead_letters` (stage `preprocess:STEP`)
    and `ledger` (how many of the batches' records were accepted, filtered and dead).

    Args:
        steps: the steps in the order in which they run, each as in a job file: `{"trim": ["carrier"]}`,
            `{"filter": "distance > 100"}`. "The job file" has them all.
        columns: the columns of the batches with their types.

    Attributes:
        columns_after: the columns after the last step with their types, for the transform that comes next.

    Raises:
        SpecError: if a step is wrong, or does not fit the columns: one line for each.

    Examples:
        >>> clean = Preprocess(
        ...     steps=[{"drop_nulls": "arr_delay"}, {"derive": {"gain": "dep_delay - arr_delay"}}],
        ...     columns={"dep_delay": "float64?", "arr_delay": "float64?"},
        ... )
        >>> clean.columns_after
        {'dep_delay': 'float64', 'arr_delay': 'float64', 'gain': 'float64'}
        >>> Preprocess(steps=[{"trim": "carrier"}], columns={"dep_delay": "float64?"})
        Traceback (most recent call last):
        transforms.refusal.SpecError: steps[0].trim[0]: there is no column carrier at this step; there are dep_delay
    """

    steps: Sequence[Mapping[str, Any] | Spec]
    columns: Mapping[str, str]
    columns_after: Mapping[str, str] = field(init=False)
    _planned: tuple[Step, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__init__()
        spec = validated(StepsSpec, {"steps": list(self.steps)}, ("steps",), {"unknown_step": tuple(STEPS)})
        types: Mapping[str, ColumnType] = types_of(self.columns)
        planned: list[Step] = []
        for index, step in enumerate(spec.steps):
            try:
                planned.append(plan_step(step, types))
            except StepError as error:
                # The columns of later steps are unknown.
                raise SpecError([sentence_at(("steps", index, *error.place), str(error))]) from None
            types = planned[-1].columns
        self._planned, self.columns_after = tuple(planned), dict(types)

    def expand(self, batches: beam.PCollection[pa.RecordBatch]) -> Outputs:
        return batches | "Preprocess" >> stage.Preprocess(steps=self._planned)

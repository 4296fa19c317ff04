"""Models as the job file writes them: each has the specification of its kind."""

from functools import reduce
from operator import or_
from typing import Annotated, Any, Final

from pydantic import PlainValidator, SerializeAsAny

from transforms.model.kind import ModelSpec, kinds, specification_of


def _of_its_kind(value: Any) -> ModelSpec:
    if isinstance(value, ModelSpec):
        return value
    return specification_of(value.get("kind") if isinstance(value, dict) else None).model_validate(value)


_SPECS: Final[Any] = reduce(or_, (kind.spec for kind in kinds().values()))
AnyModelSpec = Annotated[SerializeAsAny[ModelSpec], PlainValidator(_of_its_kind, json_schema_input_type=_SPECS)]
"""A model of a job file: `kind` decides which specification checks it."""

"""Keyed, windowed statistics over Arrow batches, as transforms for an Apache Beam pipeline of your own.

| name | what it is |
|---|---|
| `ReadFiles` | reads Parquet, JSON lines and CSV into batches, dead letters and a ledger |
| `Preprocess` | cleans, derives, filters and splits records, by steps as in a job file |
| `AggregatePerKey` | closes a row for every window and key: statistics and models |
| `batch_of` | makes a batch from rows that a pipeline has as dictionaries |
| `testing` | helps tests: `assert_table`, and `holds` for Beam's `assert_that` |
| `SpecError` | an option is wrong; raised at construction |
| `SourceError` | a file cannot be read |

Read, aggregate and print:

```python
import apache_beam as beam
import transforms as sg

flights = sg.ReadFiles(paths="examples/data/flights.parquet", format="parquet", event_time="time_hour")
hourly = sg.AggregatePerKey(
    name="hourly", key="carrier", window="1h", statistics={"dep_delay": ["mean", "p95"]}, columns=flights.columns
)
with beam.Pipeline() as pipeline:
    tables = (pipeline | flights).batches | hourly
    tables["hourly"] | beam.Map(lambda rows: print(rows.to_pandas()))
```

The folders are the stages and what they share. Each name is imported at its first use, so that a command that builds
no pipeline does not wait for Beam.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transforms import testing as testing
    from transforms.errors import SourceError as SourceError
    from transforms.pipeline.aggregate import AggregatePerKey as AggregatePerKey
    from transforms.pipeline.preprocess import Preprocess as Preprocess
    from transforms.pipeline.read import ReadFiles as ReadFiles
    from transforms.record.rows import batch_of as batch_of
    from transforms.refusal import SpecError as SpecError

__all__ = ["AggregatePerKey", "Preprocess", "ReadFiles", "SourceError", "SpecError", "batch_of", "testing"]

_MODULES = {
    "AggregatePerKey": "pipeline.aggregate",
    "Preprocess": "pipeline.preprocess",
    "ReadFiles": "pipeline.read",
    "SourceError": "errors",
    "SpecError": "refusal",
    "batch_of": "record.rows",
}


def __getattr__(name: str) -> object:
    if name == "testing":
        return import_module("transforms.testing")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"transforms.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__

"""Jobs over a log, planned as a job file is."""

import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dataflow.commands.load import load_job
from dataflow.job.plan import Job

STATISTICS = {"x": ["count", "missing", "sum", "min", "max", "first", "last"]}
FEW = {"x": ["count", "sum"]}
LASTING = {"kind": "linear_regression", "target": "y", "features": ["x"], "memory": "all"}

RECORD = {
    "event_time": {"column": "t", "unit": "s"},
    "columns": {"t": "float64", "k": "string?", "x": "int64?", "y": "int64?"},
}

JOBS: Mapping[str, Mapping[str, Any]] = {
    "fixed": {"aggregations": [{"name": "a", "key": ["k"], "window": {"size": "10s"}, "statistics": FEW}]},
    "waiting": {
        "dead_letters": {},
        "aggregations": [
            {"name": "a", "key": ["k"], "window": {"size": "10s"}, "allowed_lateness": "20s", "statistics": FEW}
        ],
    },
    "sliding": {
        "preprocess": [{"drop_nulls": ["x"]}],
        "aggregations": [{"name": "a", "window": {"size": "60s", "every": "5s"}, "statistics": STATISTICS}],
    },
    "sliding and waiting": {
        "aggregations": [
            {
                "name": "a",
                "key": ["k"],
                "window": {"size": "20s", "every": "10s"},
                "allowed_lateness": "15s",
                "statistics": FEW,
            }
        ]
    },
    "several": {
        "preprocess": [{"drop_nulls": ["x"]}],
        "aggregations": [
            {"name": "a", "key": ["k"], "window": {"size": "10s"}, "statistics": FEW},
            {"name": "b", "window": {"size": "10s"}, "allowed_lateness": "30s", "statistics": FEW},
            {
                "name": "c",
                "key": ["k"],
                "window": {"calendar": "day", "time_zone": "Europe/Berlin"},
                "statistics": FEW,
            },
        ],
    },
    "models": {
        "watermark": {"out_of_orderness": "4s", "idle_after": "never"},
        "aggregations": [
            {
                "name": "a",
                "key": ["k"],
                "window": {"size": "10s"},
                "allowed_lateness": "10s",
                "statistics": FEW,
                "models": {
                    "windowed": {**LASTING, "memory": "window"},
                    "lasting": LASTING,
                    "fading": {**LASTING, "forgetting_factor": 0.9},
                },
            }
        ],
    },
}


def planned(fragment: Mapping[str, Any], folder: str) -> Job:
    """The job of a fragment that says what it is about; all else is the same in every one."""
    job = {
        "job": "simulated",
        "source": {"log": {"path": "log", "retain": "1s"}},
        "record": RECORD,
        "watermark": {"out_of_orderness": "2s", "idle_after": "10s"},
        "sinks": [{"sql": {"url": "sqlite:///out.db"}}, {"parquet": {"path": "out"}}],
        "dead_letters": {"path": "out/dead"},
        **fragment,
    }
    path = Path(folder, "job.yaml")
    path.write_text(yaml.safe_dump(job, sort_keys=False), encoding="utf-8")
    return load_job(str(path))


@cache
def job_of(name: str) -> Job:
    """One of JOBS."""
    with tempfile.TemporaryDirectory() as folder:
        return planned(JOBS[name], folder)

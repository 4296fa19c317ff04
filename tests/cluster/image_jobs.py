"""A small Beam job for tests of the image: what do its workers see of themselves?

`python -m tests.cluster.image_jobs SECONDS FLAG…` runs it on Prism and prints `WHO COUNT` for each kind of worker.
"""

import logging
import sys
from typing import Any

logging.disable(logging.WARNING)  # importing Beam without the gcp extra warns on the root logger

import apache_beam as beam  # noqa: E402
from apache_beam.metrics import Metrics  # noqa: E402
from apache_beam.options.pipeline_options import PipelineOptions  # noqa: E402

from runners.prism_binary import build  # noqa: E402


def see(seconds: float) -> float:
    """Counts what the worker is: its user, whether it may write, whether it has our code."""
    import os
    import time

    import transforms

    Metrics.counter("worker", f"user_{os.getuid()}").inc()
    Metrics.counter("worker", "read_only" if not os.access("/opt", os.W_OK) else "writable").inc()
    Metrics.counter("worker", "ours" if transforms.__file__.startswith("/opt/streamgauge/") else "foreign").inc()
    time.sleep(seconds)
    return seconds


def main() -> None:
    """Runs it."""
    seconds, *flags = sys.argv[1:]
    options: Any = PipelineOptions(
        ["--runner=PrismRunner", f"--prism_location={build()}", "--job_server_timeout=600", *flags]
    )
    pipeline = beam.Pipeline(options=options)
    _ = pipeline | "Begin" >> beam.Create([float(seconds)], reshuffle=False) | "See" >> beam.Map(see)
    result = pipeline.run()
    result.wait_until_finish()
    for counter in result.metrics().query()["counters"]:
        if counter.key.metric.namespace == "worker":
            print(counter.key.metric.name, counter.committed or counter.attempted)
    print(result.state)


if __name__ == "__main__":
    main()

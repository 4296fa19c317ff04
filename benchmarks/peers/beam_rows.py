"""Beam as its users write it today, a row at a time, on the DirectRunner.

usage: python -m benchmarks.peers.beam_rows OUT_FOLDER SOURCE
"""

# Beam's classes and constructors carry no types.
# mypy: disable-error-code="no-untyped-call", disallow-subclassing-any=False

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.transforms.window import FixedWindows, TimestampedValue

from benchmarks.peers.line_fit import EMPTY, Answer, Fit, answer, extended, merged


class FitLineFn(beam.CombineFn):
    def create_accumulator(self) -> Fit:
        return EMPTY

    def add_input(self, accumulator: Fit, row: tuple[float, float]) -> Fit:
        return extended(accumulator, *row)

    def merge_accumulators(self, accumulators: Iterable[Fit]) -> Fit:
        total = EMPTY
        for accumulator in accumulators:
            total = merged(total, accumulator)
        return total

    def extract_output(self, accumulator: Fit) -> Answer:
        return answer(accumulator)


def keyed(line: str) -> TimestampedValue[tuple[str, tuple[float, float]]]:
    row = json.loads(line)
    return TimestampedValue((row["sensor"], (row["feature"], row["target"])), row["ts"] / 1000)


def line(row: tuple[str, Answer], window: Any = beam.DoFn.WindowParam) -> str:
    sensor, figures = row
    return json.dumps({"sensor": sensor, "window_start": window.start.micros // 1000, **figures})


def main(out: Path, source: str) -> None:
    with beam.Pipeline(argv=["--runner=DirectRunner"]) as pipeline:
        (
            pipeline
            | "Read" >> beam.io.ReadFromText(source)
            | "Parse" >> beam.Map(keyed)
            | "Window" >> beam.WindowInto(FixedWindows(60))
            | "Fit" >> beam.CombinePerKey(FitLineFn())
            | "Format" >> beam.Map(line)
            | "Write" >> beam.io.WriteToText(str(out / "answer"), file_name_suffix=".jsonl")
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

"""Makes the golden files: `python -m tests.golden.make`, with a version of which later ones shall read what it wrote.

`state-VERSION.tar.gz` is the folder of a live job that was stopped in the middle: job file, log, state, tables.
`figures.json` holds a digest of each table that an example gives.
"""

import hashlib
import json
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from dataflow import __version__
from tests.dataflow.jobs import ROOT, changed, run, write_job
from tests.dataflow.live_job import JOB, Feed, to_end

FOLDER: Final = Path(__file__).parent
FIGURES: Final = FOLDER / "figures.json"
CHUNKS: Final = 120
GOLDEN_JOB: Final[dict[str, Any]] = changed(
    JOB,
    aggregations=[
        *JOB["aggregations"],
        {
            "name": "many",
            "key": ["key"],
            "window": {"size": "1m"},
            "statistics": {
                "value": ["count", "missing", "sum", "mean", "std", "min", "max", "first", "last", "var", "p10", "p99"],
                "key": ["distinct", "top3"],
            },
        },
    ],
    execution={"checkpoint": "200ms"},
    retention={"ledger": "10s"},
)


def state_files() -> list[Path]:
    """The golden state folders, of every version that wrote one."""
    return sorted(FOLDER.glob("state-*.tar.gz"))


def digests(folder: Path) -> dict[str, str]:
    """A digest of each table in a folder of Parquet tables: of its rows, in any order, bit for bit."""
    return {
        path.name: _digest(pq.read_table(path).replace_schema_metadata(None))
        for path in sorted(folder.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }


def _digest(table: pa.Table) -> str:
    rows = sorted(hashlib.sha256(repr(row).encode()).digest() for row in table.to_pylist())
    head = ", ".join(f"{field.name} {field.type}" for field in table.schema)
    return hashlib.sha256(head.encode() + b"".join(rows)).hexdigest()


def flights(folder: Path) -> dict[str, str]:
    """Runs the flights of the example in a folder; the digests of its tables."""
    shutil.copytree(ROOT / "examples", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("out", ".streamgauge"))
    run(folder / "flights.yaml")
    return digests(folder / "out" / "flights")


def _make_state(target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "job"
        folder.mkdir()
        write_job(folder, GOLDEN_JOB)
        feed = Feed(folder)
        for _ in range(3):
            feed.write(CHUNKS // 3, records=20)
            to_end(folder)
        feed.writer.close()
        with tarfile.open(target, "w:gz") as archive:
            archive.add(folder, arcname=".")


def main() -> None:
    """Writes them."""
    _make_state(FOLDER / f"state-{__version__}.tar.gz")
    with tempfile.TemporaryDirectory() as scratch:
        FIGURES.write_text(json.dumps({"flights": flights(Path(scratch))}, indent=1) + "\n")


if __name__ == "__main__":
    main()

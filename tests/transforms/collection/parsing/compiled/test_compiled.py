"""What is compiled stays within its arrays, is kept for the next process, and needs no folder to be kept in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HOSTILE = """
import random
from tests.transforms.collection.outcome import parse, schema_of

schema = schema_of({"ts": "int64?", "a": "string?", "b": "float64?", "c": "timestamp?", "d": "bool?"}, unit=None)
chance = random.Random(5)
words = [b"{", b"}", b"[", b"]", b",", b":", b'"', b"\\\\", b"\\\\u00", b"-", b"1", b"1e", b"0.5", b"true", b"nul"]
words += [b'"a":', b'"b":', b'"c":', b'"d":', b'"ts":', b'"2013-01-01T', b"00:00:00+", b'"x', b"\\n", b"\\0", b"\\xc3"]
record = b'{"ts":17,"a":"\\\\u00e9x","b":-1.5e3,"x":[{"y":[]},"z"],"c":"2013-01-01T05:00:00.25+01:00","d":true}\\n'
for _ in range(20_000):
    data = bytearray(b"".join(chance.choices(words, k=chance.randrange(1, 30))) if chance.random() < 0.5 else record)
    for _ in range(chance.randrange(4)):
        begin = chance.randrange(len(data))
        data[begin : begin + chance.randrange(5)] = chance.choice(words)
    parsed = parse(bytes(data), schema)
    assert parsed.batch.num_rows + parsed.dead.num_rows == parsed.read
print("within bounds")
"""
ONE = """
from transforms.collection.parsing.lines import Lines
print(Lines(b"a\\nbc\\n", 0).offsets.tolist())
"""
"""Uses the function that compiles in the shortest time."""
ANSWER = "[0, 2, 5]"


def run(code: str, **environment: str) -> str:
    given = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_no_line_makes_it_leave_its_arrays(tmp_path: Path) -> None:
    assert run(HOSTILE, NUMBA_BOUNDSCHECK="1", XDG_CACHE_HOME=str(tmp_path)) == "within bounds"


def test_what_was_compiled_is_kept_in_the_users_cache(tmp_path: Path) -> None:
    assert run(ONE, XDG_CACHE_HOME=str(tmp_path)) == ANSWER
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")}
    assert kept
    assert run(ONE, XDG_CACHE_HOME=str(tmp_path)) == ANSWER
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nbc")} == kept


def test_a_process_that_can_keep_nothing_compiles_for_itself(tmp_path: Path) -> None:
    taken = tmp_path / "a file where a folder would be"
    taken.touch()
    nowhere_else = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    assert run(ONE, XDG_CACHE_HOME=str(taken), **nowhere_else) == ANSWER


def test_a_full_disk_keeps_nothing_and_stops_nothing(tmp_path: Path) -> None:
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
    nowhere_else = {"NUMBA_CACHE_LOCATOR_CLASSES": "UserProvidedCacheLocator"}
    assert run(full + ONE, XDG_CACHE_HOME=str(tmp_path), PYTHONDONTWRITEBYTECODE="1", **nowhere_else) == ANSWER

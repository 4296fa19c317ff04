"""Hashes against the algorithms they are said to be: a changed one would move every key to another shard."""

import hashlib
import struct
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transforms.record.hashing import hash_rows, hash_values, splitmix

MASK = 2**64 - 1


def by_hand(bits: int) -> int:
    """SplitMix64's output function in plain integers."""
    z = (bits + 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_splitmix_gives_the_published_sequence() -> None:
    # The first outputs for seed 1234567, as in the reference implementation's test vector.
    state = np.uint64(1234567)
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        seeds = np.array([state, state + golden, state + golden + golden])
    assert splitmix(seeds).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_numbers_hash_by_their_bits(values: list[int]) -> None:
    assert hash_values(pa.array(values, pa.int64())).tolist() == [by_hand(value & MASK) for value in values]
    floats = np.array(values, float)
    bits = [struct.unpack("<Q", struct.pack("<d", value + 0.0))[0] for value in floats.tolist()]
    assert hash_values(pa.array(floats)).tolist() == [by_hand(one) for one in bits]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.text(max_size=12), min_size=1, max_size=20))
def test_text_hashes_to_half_of_its_md5(values: list[str | None]) -> None:
    got = hash_values(pa.array(values, pa.string())).tolist()
    for value, hashed in zip(values, got, strict=True):
        if value is not None:
            assert hashed == int.from_bytes(hashlib.md5(value.encode()).digest()[:8], "little")


def test_hashes_are_the_same_in_every_release() -> None:
    texts = [338333539836370388, 12704604231530709392, 11400714819323198485, 14781178055587017920]
    assert hash_values(pa.array(["", "abc", None, "ü"])).tolist() == texts
    rows = [12926082509263870902, 4090948683499026322]
    assert hash_rows([pa.array(["EWR", None]), pa.array([1, 2])], 2).tolist() == rows


@pytest.mark.parametrize(
    "values",
    [
        pa.array([True, None, False]),
        pa.array([1, None, 0]),
        pa.array([0.5, None, -0.5]),
        pa.array(["", None, "null"]),
        pa.array([datetime(1970, 1, 1, tzinfo=timezone.utc), None, datetime.max.replace(tzinfo=timezone.utc)]),
    ],
)
def test_null_has_a_hash_of_its_own_in_every_type(values: pa.Array) -> None:
    hashes = hash_values(values)
    assert len(set(hashes.tolist())) == 3
    assert hash_values(values.slice(1))[0] == hash_values(pa.array([None], values.type))[0] == hashes[1]


def test_the_sign_of_zero_does_not_show() -> None:
    assert len(set(hash_values(pa.array([0.0, -0.0])).tolist())) == 1


@pytest.mark.parametrize("empty", [pa.array([], pa.string()), pa.array([], pa.int64()), pa.array([], pa.float64())])
def test_no_values_have_no_hashes(empty: pa.Array) -> None:
    assert len(hash_values(empty)) == 0
    assert len(hash_rows([empty], 0)) == 0


def test_rows_hash_by_all_their_columns_in_order() -> None:
    a, b = pa.array(["x", "x", "y"]), pa.array(["x", "y", "x"])
    assert len(set(hash_rows([a, b], 3).tolist())) == 3
    assert len(set(hash_rows([], 3).tolist())) == 1


@pytest.mark.parametrize("shards", [2, 7, 16])
@pytest.mark.parametrize("values", [range(40_000), [f"N{n}" for n in range(40_000)]], ids=["numbers", "texts"])
def test_shards_are_of_about_one_size(values: Any, shards: int) -> None:
    hashes = hash_rows([pa.array(values)], 40_000)
    counts = np.bincount((hashes % np.uint64(shards)).astype(int), minlength=shards)
    assert np.abs(counts * shards / 40_000 - 1).max() < 0.1

"""Stable hashes: the same value has the same hash in every run, release and process.

Text hashes to the first eight bytes of its MD5 (RFC 1321), little-endian, computed by the engine; numbers to
SplitMix64 of their bits (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014).
Neither is a secret: pseudonyms use a keyed HMAC instead.
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from transforms.process.engine import query

Hashes = npt.NDArray[np.uint64]
_NULL = np.uint64(0x9E3779B97F4A7C15)


def hash_values(values: pa.Array) -> Hashes:
    """A 64-bit hash of each value; null has one too. -0.0 and 0.0 have the same hash, 1 and 1.0 do not."""
    if pa.types.is_string(values.type):
        encoded = values.dictionary_encode(null_encoding="encode")
        digests = query("SELECT md5_number_upper(t) AS h FROM texts", {"texts": pa.table({"t": encoded.dictionary})})
        distinct = digests["h"].cast(pa.uint64()).fill_null(int(_NULL)).to_numpy(zero_copy_only=False)
        hashed: Hashes = distinct[encoded.indices.to_numpy(zero_copy_only=False)]
        return hashed
    if pa.types.is_floating(values.type):
        bits = (values.fill_null(0.0).to_numpy(zero_copy_only=False) + 0.0).view(np.uint64)
    else:
        whole = values.cast(pa.int64()).fill_null(0)
        bits = whole.to_numpy(zero_copy_only=False).view(np.uint64)
    mixed = splitmix(bits)
    if values.null_count:
        mixed = np.where(values.is_null().to_numpy(zero_copy_only=False), _NULL, mixed)
    return mixed


def hash_rows(columns: Iterable[pa.Array], rows: int) -> Hashes:
    """One hash for the values of several columns; without columns, every row has the same hash."""
    combined = np.zeros(rows, np.uint64)
    for values in columns:
        combined = splitmix(combined ^ hash_values(values))
    return combined


def splitmix(bits: Hashes) -> Hashes:
    """SplitMix64's output function, a bijection of the 64-bit integers."""
    with np.errstate(over="ignore"):
        z = bits + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))

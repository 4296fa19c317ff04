"""Keys of any type: numbered in the same way in all tables, and named so that different keys look different."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timezone

import numpy as np
import numpy.typing as npt
import pyarrow as pa

IntArray = npt.NDArray[np.int64]

# A key longer than this is a payload in the wrong column; the table holds it in full.
LABEL_CHARACTERS = 100
# Words for values that are not text: a text that reads the same is quoted.
RESERVED = frozenset({"null", "true", "false"})


@dataclass(frozen=True, slots=True)
class KeyCodes:
    """A number from 0 for each distinct key; `codes[i]` numbers the rows of table i; `keys` has a row for each.

    `keys` has no columns where there is one global key.
    """

    codes: tuple[IntArray, ...]
    keys: pa.Table

    def labels(self, numbers: Sequence[int]) -> list[str]:
        """Names these keys, in this order."""
        if not self.keys.num_columns:
            return [label(())] * len(numbers)
        return [label(tuple(row.values())) for row in self.keys.take(pa.array(numbers, pa.int64())).to_pylist()]


def code_keys(tables: Sequence[pa.Table], key: tuple[str, ...]) -> KeyCodes:
    """Numbers the keys of all tables in the same way. A null is a key of its own; without key columns there is one key.

    Args:
        tables: each has the columns `key`; the types of the first one apply.
        key: the names of the key columns.
    """
    ends = np.cumsum([table.num_rows for table in tables])
    if not key:
        return KeyCodes(tuple(np.zeros(table.num_rows, np.int64) for table in tables), pa.table({}))
    types = [_plain(tables[0].schema.field(name).type) for name in key]
    columns = [
        pa.chunked_array([chunk for table in tables for chunk in table[name].cast(kind).chunks], kind)
        for name, kind in zip(key, types, strict=True)
    ]
    combined = np.zeros(ends[-1], np.int64)
    for column in columns:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        # Numbered densely again after each column, so that the product of two numbers always fits 64 bits.
        mixed = combined * max(len(encoded.dictionary), 1) + encoded.indices.to_numpy(zero_copy_only=False)
        combined = np.unique(mixed, return_inverse=True)[1].astype(np.int64)
    _, first = np.unique(combined, return_index=True)
    keys = pa.table(columns, names=[str(position) for position in range(len(columns))]).take(pa.array(first))
    return KeyCodes(tuple(np.split(combined, ends[:-1])), keys)


def label(parts: tuple[object, ...]) -> str:
    """Names a key in words: every part is readable, and null, empty and look-alike texts differ.

    >>> label(("EWR", 7, None))
    'EWR · 7 · null'
    >>> label(("", "null"))
    '"" · "null"'
    >>> label(())
    'all rows'
    """
    return " · ".join(value_text(part) for part in parts) if parts else "all rows"


def value_text(value: object) -> str:
    """Writes one value: text as it is, unless it is empty, reserved or has invisible characters; then it is quoted.

    >>> [value_text(value) for value in (None, True, 3, "AA", "", "null", " a")]
    ['null', 'true', '3', 'AA', '""', '"null"', '" a"']
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return _instant(value)
    if isinstance(value, (date, time)):
        return value.isoformat()
    if isinstance(value, bytes):
        return shorten(f"0x{value.hex()}")
    text = str(value)
    is_plain = text != "" and text not in RESERVED and text.strip() == text and text.isprintable()
    return shorten(text if is_plain else json.dumps(text, ensure_ascii=not text.strip().isprintable()))


def shorten(text: str, characters: int = LABEL_CHARACTERS) -> str:
    """Cuts a long text and shows that it was cut."""
    return text if len(text) <= characters else text[: characters - 1] + "…"


def _instant(value: datetime) -> str:
    zone = ""
    if value.tzinfo is not None:
        value, zone = value.astimezone(timezone.utc), " UTC"
    has_seconds = value.second or value.microsecond
    return value.replace(tzinfo=None).isoformat(" ", "auto" if has_seconds else "minutes") + zone


def _plain(kind: pa.DataType) -> pa.DataType:
    return kind.value_type if pa.types.is_dictionary(kind) else kind

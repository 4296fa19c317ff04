"""JSON lines."""

from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parsed import Rows, Schema
from transforms.collection.parsing.values import Refusals


def parse_json(lines: Lines, schema: Schema, refused: Refusals) -> Rows:
    """The columns of the lines that are records; the others are added to `refused`, and may have no row.

    Of a name that an object has twice, the first counts.

    Args:
        refused: lines that are refused already and must not be looked at, such as invalid UTF-8.
    """
    # What compiles takes half a second and 125 MB, which jobs on Parquet need not spend.
    from transforms.collection.parsing.json_columns import read_columns

    return read_columns(lines, schema, refused)

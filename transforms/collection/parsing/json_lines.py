"""JSON lines."""

from transforms.collection.parsing.lines import Lines
from transforms.collection.parsing.parsed import Rows, Schema
from transforms.collection.parsing.values import Refusals


def parse_json(lines: Lines, schema: Schema, refused: Refusals) -> Rows:
    """The columns of the lines that are records; other lines are added to `refused`, and may have no row.

    If an object has a name twice, the first one counts.

    Args:
        refused: lines that are already refused and must not be examined, such as invalid UTF-8.
    """
    # Importing the compiler takes half a second and 125 MB, which jobs on Parquet need not spend.
    from transforms.collection.parsing.json_columns import read_columns

    return read_columns(lines, schema, refused)

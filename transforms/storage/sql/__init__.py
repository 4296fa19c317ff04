"""The SQL sink, free of Beam: publishes finished tables into a database in one transaction, and reads them back."""

from transforms.errors import SqlOvertaken, SqlSinkError, SqlTableGone
from transforms.storage.sink import Fence, Known
from transforms.storage.sql.publication import (
    check,
    expire,
    full,
    is_there,
    last_closed,
    publish,
    read,
    retract,
    roll_back,
)
from transforms.storage.sql.table import SqlTable

__all__ = [
    "Fence",
    "Known",
    "SqlOvertaken",
    "SqlSinkError",
    "SqlTable",
    "SqlTableGone",
    "check",
    "expire",
    "full",
    "is_there",
    "last_closed",
    "publish",
    "read",
    "retract",
    "roll_back",
]

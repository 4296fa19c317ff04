"""The SQL sink, free of Beam: publishes finished tables into a database in one transaction, and reads them back."""

from transforms.storage.sql.error import SqlSinkError
from transforms.storage.sql.publication import check, publish, read
from transforms.storage.sql.table import SqlTable

__all__ = ["SqlSinkError", "SqlTable", "check", "publish", "read"]

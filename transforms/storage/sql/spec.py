"""Databases as a sink, as the job file writes them."""

from typing import Final

from pydantic import Field

from transforms.specification import Spec

SCHEMA_PATTERN: Final = "[a-z_][a-z0-9_]{0,62}"
"""Names of schemas that need no quotes in PostgreSQL."""


class SqlTarget(Spec):
    """A database by its SQLAlchemy URL; secrets come from the environment as `${NAME}`.

    `schema`: for PostgreSQL, the schema that holds the tables, which is made if it is missing; by default the first
    one in `search_path`.
    """

    url: str = Field(min_length=1)
    schema_name: str | None = Field(default=None, alias="schema", pattern=f"^{SCHEMA_PATTERN}$")


class SqlSinkSpec(Spec):
    """Tables of a SQL database."""

    sql: SqlTarget

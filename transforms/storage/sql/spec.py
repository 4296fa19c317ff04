"""Databases as a sink, as the job file writes them."""

from typing import Final

from pydantic import Field

from transforms.specification import Spec

SCHEMA_PATTERN: Final = "[a-z_][a-z0-9_]{0,62}"
"""Names of schemas that PostgreSQL reads without quotes."""


class SqlTarget(Spec):
    """A database by its SQLAlchemy URL; secrets come from the environment as `${NAME}`.

    `schema`: of PostgreSQL, the schema that holds the tables, made if it is not there; by default the one that
    `search_path` names first.
    """

    url: str = Field(min_length=1)
    schema_name: str | None = Field(default=None, alias="schema", pattern=f"^{SCHEMA_PATTERN}$")


class SqlSinkSpec(Spec):
    """Tables of a SQL database."""

    sql: SqlTarget

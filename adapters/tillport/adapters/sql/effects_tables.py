"""The tables of effects, for the database that an embedder's handlers write to.

That may be the database of the log, or another: nothing here refers to the log's tables, and whichever are made first, the
others are made beside them. A host that autogenerates its migrations finds them in `schema.metadata_for`, with the rest; one that keeps effects apart from the log runs
`effects_ddl`, or lets a queue do it (`create_tables`).
"""

from functools import cache
from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Dialect, Double, Index, Integer, Table, Text, text
from sqlalchemy.schema import CreateIndex, CreateTable

from tillport.adapters.sql.schema import metadata

effects: Final = Table(
    "tillport_effects",
    metadata,
    Column("event_id", Text, primary_key=True),
    Column("handler", Text, primary_key=True),
    Column("position", BigInteger, nullable=False, comment="where the event stands in the log"),
    Column("payment_key", Text, nullable=False),
    Column("in_order", Boolean, nullable=False),
    Column("state", Text, nullable=False, comment="due, done, dead or skipped"),
    Column("tries", Integer, nullable=False),
    Column("claims", Integer, nullable=False),
    Column("due_at", Double, nullable=False),
    Column("error", Text),
    comment="what each handler is to do, once, about each event",
    sqlite_with_rowid=False,
)
# Workers look for the few that are due among the many that are done.
_DUE: Final = text("state = 'due'")
_OPEN: Final = text("state IN ('due', 'dead')")
Index(
    "ix_tillport_effects_due",
    effects.c.handler,
    effects.c.due_at,
    effects.c.position,
    sqlite_where=_DUE,
    postgresql_where=_DUE,
)
# What holds up the effects of a payment that are to be done in order; and what people look at.
Index(
    "ix_tillport_effects_open",
    effects.c.handler,
    effects.c.payment_key,
    effects.c.position,
    sqlite_where=_OPEN,
    postgresql_where=_OPEN,
)

handlers: Final = Table(
    "tillport_effect_handlers",
    metadata,
    Column("handler", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    comment="how far in the log each handler's effects have been enlisted",
    sqlite_with_rowid=False,
)

TABLES: Final = (effects, handlers)

CREATION_LOCK: Final = 0x7111_9047_0000_0004
"""The advisory lock that keeps two from creating the tables at the same time on PostgreSQL."""


@cache
def effects_ddl(dialect: Dialect) -> tuple[str, ...]:
    """Return the statements that create what is missing of these tables and indexes.

    >>> from sqlalchemy.dialects import sqlite
    >>> [statement.split("(")[0].split()[-1] for statement in effects_ddl(sqlite.dialect())][:2]
    ['tillport_effects', 'tillport_effect_handlers']
    """
    indexes = sorted(
        (index for table in TABLES for index in table.indexes), key=lambda index: str(index.name)
    )
    statements: list[CreateTable | CreateIndex] = [CreateTable(table, if_not_exists=True) for table in TABLES]
    statements += [CreateIndex(index, if_not_exists=True) for index in indexes]
    return tuple(str(one.compile(dialect=dialect)).strip() for one in statements)

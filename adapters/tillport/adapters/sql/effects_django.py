"""Effects in the database of a Django project, through Django's own connection and `transaction.atomic`.

    queue = DjangoEffectQueue()        # or using="payments"

Handlers use the ORM as ever (on that database): they run inside `atomic()`, each in a savepoint. Django is imported
when the queue is made, so that nobody else needs it. The tables come from a migration of the project:

    operations = [migrations.RunSQL(list(django_ddl()))]
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import import_module
from typing import Any, Final

import attrs
from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql, sqlite

from tillport.adapters.sql.autocommit import NoTransaction
from tillport.adapters.sql.effects_stacks import positional, rows_of
from tillport.adapters.sql.effects_statements import IDLE_SECONDS, Values
from tillport.adapters.sql.effects_sync import SyncEffectQueue, Work, refuse_other_databases
from tillport.adapters.sql.effects_tables import effects_ddl
from tillport.adapters.sql.postgres_session import only_reads

logger = logging.getLogger("tillport.effects")

_DIALECTS: Final[dict[str, Dialect]] = {
    # Django writes %s for every database.
    "sqlite": sqlite.dialect(paramstyle="format"),
    "postgresql": postgresql.dialect(paramstyle="format"),  # type: ignore[no-untyped-call] # SQLAlchemy's own gap
}


def DjangoEffectQueue(  # noqa: N802 - as a class
    using: str = "default", *, threads: int = 4, idle_seconds: float = IDLE_SECONDS
) -> SyncEffectQueue[Any]:
    """Return an effect queue on one of Django's databases, SQLite or PostgreSQL.

    Handlers get Django's connection, as `django.db.connections[using]` is. On SQLite set
    `OPTIONS = {"transaction_mode": "IMMEDIATE"}` (Django 5.1), as Django itself advises for writers.
    Raises `ValueError` for another database, and Django's own error for one that the settings don't name.
    """
    django = import_module("django.db")
    refuse_other_databases(django.connections[using].vendor)
    stack = _DjangoStack(using, django)
    return SyncEffectQueue(stack, threads=threads, idle_seconds=idle_seconds)


def django_ddl(using: str = "default") -> tuple[str, ...]:
    """Return the statements of a Django migration that creates the tables."""
    return effects_ddl(_DIALECTS[import_module("django.db").connections[using].vendor])


@attrs.frozen
class _DjangoStack:
    _using: str
    _django: Any

    @property
    def dialect(self) -> Dialect:
        return _DIALECTS[self._connection.vendor]

    @property
    def _connection(self) -> Any:
        return self._django.connections[self._using]  # each thread's own

    @contextmanager
    def transaction(self) -> Iterator[Work[Any]]:
        connection = self._connection
        connection.close_if_unusable_or_obsolete()
        if not (connection.in_atomic_block or connection.get_autocommit()):
            raise NoTransaction(  # atomic() would neither begin nor commit
                "Django's autocommit is off for this database.",
                remedy="Leave `AUTOCOMMIT` as it is by default.",
            )
        try:
            yield from self._in_atomic(connection)
        except Exception as error:
            if only_reads(error):
                connection.close()
            raise

    def _in_atomic(self, connection: Any) -> Iterator[Work[Any]]:
        with self._django.transaction.atomic(using=self._using, durable=True), connection.cursor() as cursor:
            try:
                yield _DjangoWork(connection, cursor, self._django.transaction, self.dialect)
            finally:
                connection.savepoint_ids = []  # or atomic() would take the end of the transaction for a savepoint's
            if connection.needs_rollback:  # or the end of atomic() would roll back without a word
                raise self._django.transaction.TransactionManagementError("The transaction was broken.")
            # Django would leave out the rest after the first hook that fails. These are about different events.
            hooks, connection.run_on_commit = connection.run_on_commit, []
        for hook in hooks:
            _run_hook(hook[1])

    def close(self) -> None:
        self._connection.close()


def _run_hook(hook: Callable[[], object]) -> None:
    try:
        hook()
    except Exception as error:  # noqa: BLE001 - what it is about is committed, and can't be undone
        name = getattr(hook, "__qualname__", type(hook).__name__)
        logger.error(  # noqa: TRY400 - its text may quote what must not stand in a log
            "%s, which a handler handed to on_commit(), failed with %s", name, type(error).__name__
        )


@attrs.define
class _DjangoWork:
    _connection: Any
    _cursor: Any
    _transaction: Any
    _dialect: Dialect
    _savepoint: Any = attrs.field(init=False, default=None)

    def execute(self, statement: str, values: Values) -> Sequence[Sequence[Any]]:
        bound = positional(statement, self._dialect)
        self._cursor.execute(bound.text, bound.positional(**values))
        return rows_of(self._cursor)

    def savepoint(self) -> None:
        # The connection's own method: Django 6.1 gave the function of `transaction` another name.
        self._savepoint = self._connection.savepoint()
        # As atomic() does it: what a handler hands to on_commit() belongs to its savepoint, and is dropped with it.
        self._connection.savepoint_ids = [self._savepoint]

    def release(self) -> None:
        if self._connection.needs_rollback:
            self.undo()
            raise self._transaction.TransactionManagementError("The handler hid a failure of the database.")
        self._transaction.savepoint_commit(self._savepoint, using=self._connection.alias)

    def undo(self) -> None:
        # What failed inside is undone here, so the transaction is sound again.
        self._transaction.set_rollback(False, using=self._connection.alias)
        self._transaction.savepoint_rollback(self._savepoint, using=self._connection.alias)

    def lend(self) -> AbstractContextManager[Any]:
        return nullcontext(self._connection)

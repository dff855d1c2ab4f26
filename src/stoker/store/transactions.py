"""How a group of operations meets the database: group commit for writes, one by one for reads."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stoker.core.errors import StoreError
from stoker.store.faults import store_error
from stoker.store.lanes import Serve, Ticket


def group_commit(path: Path, label: str) -> Serve:
    """All of them in one transaction and one sync of the disk, with a savepoint each.

    An operation that fails undoes only itself. Nobody is answered before the commit.
    """

    def serve(connection: sqlite3.Connection, group: Sequence[Ticket[Any]]) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            _fail_all(group, store_error(error, path, label))
            return
        try:
            for ticket in group:
                _attempt_in_savepoint(connection, ticket, path, label)
            commit(connection)
        except sqlite3.Error as error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            if len(group) == 1:
                _fail_all(group, store_error(error, path, label))
                return
            # A full disk or an I/O error takes the whole transaction along. Nothing of it is in
            # the file, so each may try alone: the large write that did not fit must not fail the
            # small ones beside it.
            for ticket in group:
                ticket.value, ticket.error = None, None
                serve(connection, [ticket])

    return serve


def commit(connection: sqlite3.Connection) -> None:
    """The one place where anything becomes durable."""
    connection.execute("COMMIT")


def one_by_one(path: Path, label: str) -> Serve:
    """Each by itself, in the order they came; for reads."""

    def serve(connection: sqlite3.Connection, group: Sequence[Ticket[Any]]) -> None:
        for ticket in group:
            try:
                ticket.value = ticket.operation(connection)
            except Exception as error:  # noqa: BLE001 - whatever it is, it belongs to its caller
                ticket.error = _translated(error, path, label)

    return serve


def _attempt_in_savepoint(
    connection: sqlite3.Connection, ticket: Ticket[Any], path: Path, label: str
) -> None:
    connection.execute("SAVEPOINT operation")
    try:
        ticket.value = ticket.operation(connection)
    except Exception as error:
        if not connection.in_transaction:
            raise  # SQLite rolled back more than this operation
        connection.execute("ROLLBACK TO operation")
        ticket.error = _translated(error, path, label)
    connection.execute("RELEASE operation")


def _fail_all(group: Sequence[Ticket[Any]], error: StoreError) -> None:
    for ticket in group:
        ticket.error = error


def _translated(error: Exception, path: Path, label: str) -> Exception:
    return store_error(error, path, label) if isinstance(error, sqlite3.Error) else error

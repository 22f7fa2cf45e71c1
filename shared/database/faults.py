"""Translates the driver's errors, in one place: errors that may pass become a DatabaseFault.

TransientFault
└── DatabaseFault    the database is away, only reads, refuses us, or asked for a retry; `kind` says which
"""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from shared.database.sqlstates import OUTAGES, Kind, rule_of
from shared.faults import TransientFault
from shared.metrics import DATABASE_FAULTS

# Errors of the driver itself, without an SQLSTATE: the server is unreachable, or the connection is gone.
_CLIENT_ERRORS = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError)


class DatabaseFault(TransientFault):
    """The database cannot run the statement now; the statement itself may be fine."""

    def __init__(self, kind: Kind, error: BaseException) -> None:
        super().__init__(f"{kind}: {type(error).__name__}")
        self.kind: Kind = kind
        self.is_outage = kind in OUTAGES


@contextmanager
def transient_faults() -> Iterator[None]:
    """Turn the driver's errors that are not about the statement into DatabaseFault; let all others pass."""
    try:
        yield
    except (asyncpg.PostgresError, *_CLIENT_ERRORS) as error:
        kind = kind_of(error)
        if kind == "statement":
            raise
        DATABASE_FAULTS.labels(kind).inc()
        raise DatabaseFault(kind, error) from error


def kind_of(error: BaseException) -> Kind:
    """Return what an error of the driver means."""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        # Its SQLSTATE says that the server cannot run the statement, but a fresh plan of the same statement works.
        return "schema_differs"
    if isinstance(error, asyncpg.PostgresError):
        return rule_of(getattr(error, "sqlstate", None)).kind
    return "timeout" if isinstance(error, TimeoutError) else "unreachable"

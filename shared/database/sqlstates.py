"""The meaning of the server's SQLSTATEs: is the statement at fault, or should it be retried later?

Only faults in the data or the text of the statement are errors. Everything else is transient, unknown states included:
a message that waits can still be handled; one that was given up as an error is lost.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Kind = Literal[
    "statement",
    "unreachable",
    "timeout",
    "read_only",
    "login_refused",
    "database_missing",
    "schema_differs",
    "permission_missing",
    "session",
    "rolled_back",
    "resources",
    "locked",
    "canceled",
    "shutdown",
    "server",
    "unknown",
]
"""`statement` is an error; all others are transient, and are named so in logs and metrics."""


# These may concern the database as a whole, not only one statement or connection.
OUTAGES: Final[frozenset[Kind]] = frozenset(
    {"unreachable", "read_only", "login_refused", "database_missing", "shutdown"}
)


class Rule(NamedTuple):
    """The meaning of a class of states, or of a single one, and the reason."""

    kind: Kind
    reason: str


UNKNOWN: Final = Rule("unknown", "Not classified yet; waiting loses nothing.")

# A class of two characters or a whole state; the longer entry wins.
RULES: Final[Mapping[str, Rule]] = {
    # The statement is at fault: the same data and text fail whenever they are tried.
    "09": Rule("statement", "A trigger refuses the row."),
    "0A": Rule("statement", "The statement asks for what the server cannot do."),
    "0Z": Rule("statement", "A function of ours is wrong."),
    "10": Rule("statement", "An argument of an XML query."),
    "20": Rule("statement", "A CASE of a function has no branch for the value."),
    "21": Rule("statement", "A subquery returned several rows, or one row would be updated twice: the data."),
    "22": Rule("statement", "A value is malformed or out of range."),
    "23": Rule("statement", "A row breaks a constraint."),
    "27": Rule("statement", "A trigger changed the row that the statement changes."),
    "2B": Rule("statement", "Something else depends on what would be dropped."),
    "2F": Rule("statement", "A function of ours is wrong."),
    "38": Rule("statement", "A function refuses its arguments."),
    "39": Rule("statement", "A function received or returned an illegal value."),
    "42": Rule("statement", "The text of the statement is wrong."),
    "44": Rule("statement", "A row is outside of the view that it is written through."),
    "54": Rule("statement", "A value is too large for an index, or nested too deeply: the data."),
    "P0": Rule("statement", "RAISE in a function or trigger: the row breaks a rule."),
    # The server is away, or not what it was when the service started.
    "08": Rule("unreachable", "The connection could not be made, or was lost."),
    "25006": Rule(
        "read_only", "A standby, a demoted primary, or a server with a full disk: writing works again later."
    ),
    "28": Rule("login_refused", "The role may not log in, or its password was changed: an operator is at work."),
    "0L": Rule("login_refused", "The role has lost a membership: an operator is at work."),
    "0P": Rule("login_refused", "The role is gone or being replaced: an operator is at work."),
    "3D": Rule("database_missing", "The database is being restored or renamed."),
    "3F": Rule("schema_differs", "The schema is not there yet: migrations are still to come."),
    "42P01": Rule("schema_differs", "A table is missing: migrations or a restore are under way."),
    "42703": Rule("schema_differs", "A column is missing: a process is newer or older than the schema."),
    "42883": Rule("schema_differs", "A function is missing: a process is newer or older than the schema."),
    "42704": Rule("schema_differs", "A type or object is missing: a process is newer or older than the schema."),
    "42P10": Rule("schema_differs", "A unique index is missing: it is being built again."),
    "42501": Rule("permission_missing", "A grant is missing, as after a restore: an operator fixes it."),
    # This session or this moment, not this statement.
    "25": Rule("session", "The session is in another state than it should be; another session is not."),
    "0B": Rule("session", "The session is in another state than it should be; another session is not."),
    "24": Rule("session", "A cursor belongs to a session that has moved on."),
    "26": Rule("session", "The prepared statement is gone: a pooler or a failover gave us another server process."),
    "2D": Rule("session", "The session is in another state than it should be; another session is not."),
    "34": Rule("session", "A cursor belongs to a session that has moved on."),
    "3B": Rule("session", "A savepoint belongs to a transaction that is over."),
    "42P05": Rule("session", "The prepared statement is there already: a pooler gave us another's server process."),
    "40": Rule("rolled_back", "A deadlock or a conflict with another transaction: the server asks for another try."),
    "72": Rule("rolled_back", "The snapshot has become too old; another try takes a fresh one."),
    "53": Rule("resources", "Disk, memory or connections are used up; others give them back."),
    "55": Rule("locked", "Another session uses the object, or it is not ready yet."),
    "57": Rule("shutdown", "The server stops, starts or recovers, or an operator ended the session."),
    "57014": Rule("canceled", "The statement ran out of time, as on a busy server."),
    "58": Rule("server", "The server's files or disk fail."),
    "F0": Rule("server", "The server's configuration is being changed."),
    "XX": Rule("server", "The server found damage or a defect in itself; an operator mends or replaces it."),
}


def rule_of(state: str | None) -> Rule:
    """Return the rule for an SQLSTATE; an error without one is unknown."""
    if not state:
        return UNKNOWN
    return RULES.get(state) or RULES.get(state[:2]) or UNKNOWN

"""The driver's errors: all states it knows, each either an error of the statement or something to try again later."""

import ssl
from typing import Final

import asyncpg
import pytest
from asyncpg.exceptions import ClientConfigurationError, OutdatedSchemaCacheError, ProtocolError

from shared.database.faults import DatabaseFault, transient_faults
from shared.database.sqlstates import RULES, rule_of

STATES: Final = {
    error.sqlstate
    for error in vars(asyncpg.exceptions).values()
    if isinstance(error, type) and issubclass(error, asyncpg.PostgresError) and getattr(error, "sqlstate", None)
}
# Written out once more, by hand: moving a class from one side to the other has to be repeated here.
ERRORS: Final = frozenset(
    "09 0A 0Z 10 20 21 22 23 27 2B 2F 38 39 42 44 54 P0".split()  # noqa: SIM905 - read as the table is
)
TRANSIENT_IN_42: Final = frozenset({"42501", "42703", "42704", "42883", "42P01", "42P05", "42P10"})
UNKNOWN_CLASSES: Final = frozenset({"03", "0F", "HV"})


def from_server(state: str) -> asyncpg.PostgresError:
    """Return the error that the driver makes of an answer of the server."""
    made: asyncpg.PostgresError = asyncpg.PostgresError.new({"C": state, "M": "words", "S": "ERROR", "V": "ERROR"})
    return made


def raised(error: BaseException) -> BaseException:
    """Return what comes out when the driver raises this."""
    with pytest.raises(BaseException) as caught, transient_faults():  # noqa: PT011 - whatever it is, we look at it
        raise error
    return caught.value


@pytest.mark.parametrize("state", sorted(STATES))
def test_a_state_is_an_error_only_where_the_statement_itself_is_at_fault(state: str) -> None:
    """An error dead-letters a good message or answers 500; a transient fault waits or answers 503."""
    error = from_server(state)
    out = raised(error)
    if state[:2] in ERRORS and state not in TRANSIENT_IN_42:
        assert out is error
    else:
        assert isinstance(out, DatabaseFault)
        assert out.__cause__ is error
        assert str(out) == f"{rule_of(state).kind}: {type(error).__name__}"


def test_every_rule_is_about_states_that_there_are_and_has_a_reason() -> None:
    for key, rule in RULES.items():
        assert any(state.startswith(key) for state in STATES), key
        assert rule.reason.endswith(".")


def test_only_few_classes_are_left_to_the_rule_for_the_unknown() -> None:
    assert {state[:2] for state in STATES if rule_of(state).kind == "unknown"} == UNKNOWN_CLASSES


@pytest.mark.parametrize("state", ["ZZ999", "99", ""])
def test_a_state_that_nobody_knows_is_transient(state: str) -> None:
    """A newer server may have new states; a message that waits for them can still be handled."""
    assert isinstance(out := raised(from_server(state)), DatabaseFault)
    assert out.kind == "unknown"


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("25006", "read_only"),
        ("28000", "login_refused"),
        ("28P01", "login_refused"),
        ("3D000", "database_missing"),
        ("42P01", "schema_differs"),
        ("42501", "permission_missing"),
        ("25P02", "session"),
        ("26000", "session"),
        ("40P01", "rolled_back"),
        ("53100", "resources"),
        ("57P03", "shutdown"),
        ("57014", "canceled"),
        ("58030", "server"),
        ("XX001", "server"),
    ],
)
def test_what_operators_look_for_has_a_name_of_its_own(state: str, kind: str) -> None:
    assert rule_of(state).kind == kind


def test_a_plan_that_the_schema_outlived_is_transient_though_its_state_is_not() -> None:
    error = asyncpg.InvalidCachedStatementError("cached plan must not change result type")
    assert isinstance(out := raised(error), DatabaseFault)
    assert out.kind == "schema_differs"


@pytest.mark.parametrize(
    "error",
    [
        asyncpg.InterfaceError("pool is closing"),
        asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation"),
        ClientConfigurationError("the file of certificates is gone"),
        OutdatedSchemaCacheError("the schema has changed"),
        ProtocolError("unexpected message"),
        ConnectionRefusedError(),
        TimeoutError(),
        ssl.SSLError("handshake failed"),
        # It is a ValueError too, and no less a matter of the connection for that.
        ssl.SSLCertVerificationError("certificate has expired"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_driver_raises_by_itself_is_transient(error: Exception) -> None:
    assert isinstance(out := raised(error), DatabaseFault)
    assert out.kind == ("timeout" if isinstance(error, TimeoutError) else "unreachable")


@pytest.mark.parametrize("error", [ValueError("ours"), KeyError("ours"), asyncpg.DataError("cannot be encoded")])
def test_what_is_our_own_fault_or_the_data_s_passes_as_it_is(error: Exception) -> None:
    assert raised(error) is error

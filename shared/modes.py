"""Test and live mode: what a program creates in test mode belongs to a second tenant, whose id has one more bit set.

A tenant is a program, or a partner, in one mode. Rows and statements know only tenants, so the isolation of
programs isolates the two modes of one program as well. Callers never see the id of a test tenant: requests and answers
name the program or the partner, whose id is that of its live tenant. Pure.
"""

import uuid
from typing import Final, Literal

Mode = Literal["live", "test"]

# The second bit of the variant, which is 0 in every UUID that RFC 9562 describes, of whatever version.
_TEST_BIT: Final = 1 << 62


def is_test(tenant_id: uuid.UUID) -> bool:
    """Return whether an id belongs to a test tenant."""
    return bool(tenant_id.int & _TEST_BIT)


def mode_of(tenant_id: uuid.UUID) -> Mode:
    """Return the mode of a tenant."""
    return "test" if is_test(tenant_id) else "live"


def in_mode(owner_id: uuid.UUID, *, test: bool) -> uuid.UUID:
    """Return the tenant of a program or a partner in a mode, given either tenant."""
    number = owner_id.int | _TEST_BIT if test else owner_id.int & ~_TEST_BIT
    return owner_id if number == owner_id.int else uuid.UUID(int=number)


def shown_id(tenant_id: uuid.UUID) -> str:
    """Return the id by which callers know the program or the partner behind a tenant, as text."""
    return str(in_mode(tenant_id, test=False))


def shown_id_or_none(tenant_id: uuid.UUID | None) -> str | None:
    """Return the id of a partner as callers know it; None if there is none."""
    return None if tenant_id is None else shown_id(tenant_id)

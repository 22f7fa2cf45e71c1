"""Who acts through a dashboard: the account, its role and grade, and the rights that these give. Pure.

The rights are expressed in the scopes that keys have.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["partner", "merchant", "operator"]
Grade = Literal["look", "change"]

# The one place where roles and grades become rights. An operator needs no scope: it has the access of the operator's
# token. A read-only account has the scopes of its role on routes that change nothing and return no customer's data;
# no route that mints codes is one, so it lacks `codes:generate`.
SCOPES: Final[Mapping[tuple[Role, Grade], frozenset[str]]] = {
    ("partner", "look"): frozenset({"codes:read", "webhooks"}),
    ("partner", "change"): frozenset({"codes:read", "codes:generate", "webhooks"}),
    ("merchant", "look"): frozenset({"manage", "checkout", "webhooks"}),
    ("merchant", "change"): frozenset({"manage", "checkout", "webhooks"}),
    ("operator", "look"): frozenset(),
    ("operator", "change"): frozenset(),
}


@dataclass(frozen=True, slots=True)
class Account:
    """An account that acts, as its dashboard (`issuer`) states it, in a request that it calls `request_id`.

    The id is a random UUID (version 4), so that no account can pass for one of our keys, whose ids have version 7.
    """

    id: uuid.UUID
    issuer: str
    role: Role
    grade: Grade
    request_id: str

    @property
    def name(self) -> str:
        """Its name in an audit log."""
        return f"account {self.id}"

    @property
    def may_change(self) -> bool:
        """Whether it may do more than read."""
        return self.grade == "change"


def is_account_id(some_id: uuid.UUID) -> bool:
    """Return whether an id belongs to an account and not to a key."""
    return some_id.version == 4

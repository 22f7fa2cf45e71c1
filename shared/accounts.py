"""Who acts through a dashboard: the account, its role and grade, and what these entitle to. Pure.

Research into who needs what on which page stands behind the table; here it is in terms of the scopes that keys have.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["partner", "merchant", "operator"]
Grade = Literal["look", "change"]

# The one place where roles and grades become rights. An operator needs no scope: it goes where the operator's token
# goes. Who may only look has the scopes of its role on routes that change nothing and give no customer's file away; no
# route that makes codes is one, so `codes:generate` is left out altogether.
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
        """What an audit log calls it."""
        return f"account {self.id}"

    @property
    def may_change(self) -> bool:
        """Whether it may do more than look."""
        return self.grade == "change"


def is_account_id(some_id: uuid.UUID) -> bool:
    """Say whether an id is that of an account and not that of a key."""
    return some_id.version == 4

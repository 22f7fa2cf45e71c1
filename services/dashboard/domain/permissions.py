"""Who may do what, as data: for each action the roles that have it, and how it is confirmed.

Whose things an action reaches is decided by the services, from the role, program and partner that we state.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from shared.accounts import Grade, Role

# 0: done at once. 1: a page first that says what follows. 2: also type the name, and a fresh sign-in.
Weight = Literal[0, 1, 2]


@dataclass(frozen=True, slots=True)
class Action:
    """What the roles named in `weights` may do; a read-only account only if it changes nothing."""

    changes: bool
    weights: Mapping[Role, Weight]


def _see(*roles: Role) -> Action:
    return Action(False, dict.fromkeys(roles, 0))


def _do(partner: Weight | None = None, merchant: Weight | None = None, operator: Weight | None = None) -> Action:
    weights: dict[Role, Weight | None] = {"partner": partner, "merchant": merchant, "operator": operator}
    return Action(True, {role: weight for role, weight in weights.items() if weight is not None})


ACTIONS: Final[Mapping[str, Action]] = {
    "overview.see": _see("partner", "merchant", "operator"),
    "codes.see": _see("partner", "merchant"),
    "codes.mint": _do(partner=0, merchant=0),
    "codes.switch": _do(merchant=0),
    "codes.bulk": _do(merchant=1),
    "codes.import": _do(merchant=0),
    "coupons.see": _see("merchant", "operator"),
    "coupons.change": _do(merchant=0),
    "coupons.archive": _do(merchant=1),
    "quota.see": _see("partner", "merchant", "operator"),
    "quota.grant": _do(merchant=1),
    "quota.refund": _do(operator=1),
    "orders.see": _see("partner", "merchant"),
    "orders.place": _do(partner=1),
    "orders.cancel": _do(partner=0),
    "orders.decide": _do(merchant=1),
    "partners.see": _see("merchant", "operator"),
    "partners.create": _do(merchant=0),
    "partners.approve": _do(merchant=0),
    "partners.suspend": _do(merchant=1, operator=2),
    "partners.archive": _do(merchant=2),
    "rate_limit.change": _do(operator=1),
    "keys.see": _see("partner", "merchant", "operator"),
    "keys.create": _do(partner=0, merchant=0, operator=0),
    "keys.rotate": _do(partner=1, merchant=1),
    "keys.revoke": _do(partner=1, merchant=1, operator=2),
    "endpoints.see": _see("partner", "merchant", "operator"),
    "endpoints.change": _do(partner=0, merchant=0),
    "endpoints.pause": _do(partner=0, merchant=0),
    "endpoints.disable": _do(partner=1, merchant=1, operator=1),
    "endpoints.delete": _do(partner=2, merchant=2),
    "endpoints.rotate": _do(partner=1, merchant=1),
    "endpoints.test": _do(partner=0, merchant=0),
    "deliveries.see": _see("partner", "merchant", "operator"),
    "deliveries.send": _do(partner=0, merchant=0),
    "deliveries.cancel": _do(partner=0, merchant=0),
    "deliveries.replay": _do(partner=1, merchant=1, operator=1),
    "deliveries.give_up": _do(partner=2, merchant=2),
    "redemptions.see": _see("partner", "merchant"),
    "redemptions.void": _do(merchant=1),
    "redemptions.export": _do(merchant=0),
    "customers.show": _do(merchant=0),
    "reports.see": _see("partner", "merchant"),
    "jobs.see": _see("merchant", "operator"),
    "jobs.start": _do(merchant=0),
    "jobs.cancel": _do(merchant=1, operator=1),
    "providers.see": _see("merchant", "operator"),
    "providers.connect": _do(merchant=0),
    "providers.disconnect": _do(merchant=2),
    "team.see": _see("partner", "merchant"),
    "team.change": _do(partner=0, merchant=0),
    "audit.see": _see("partner", "merchant", "operator"),
    "program.see": _see("merchant", "operator"),
    "program.change": _do(merchant=1, operator=1),
    "programs.see": _see("operator"),
    "programs.create": _do(operator=0),
    "programs.archive": _do(operator=2),
    "queues.see": _see("operator"),
    "queues.look": _do(operator=1),
    "queues.replay": _do(operator=1),
    "queues.purge": _do(operator=2),
    "accounts.see": _see("operator"),
    "accounts.change": _do(operator=1),
}


def may(role: Role, grade: Grade, action: str) -> bool:
    """Return whether an account with this role and grade has the action."""
    found = ACTIONS[action]
    return role in found.weights and (grade == "change" or not found.changes)


def weight(role: Role, action: str) -> Weight:
    """Return how the role's action is confirmed; raises KeyError for one that it does not have."""
    return ACTIONS[action].weights[role]

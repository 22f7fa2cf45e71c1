"""The navigation of each role, as data. An entry is shown once its page exists and the account may see it."""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

from shared.accounts import Role


@dataclass(frozen=True, slots=True)
class Entry:
    """A link; `is_nested` ones stand under the one before, and one without a path is only their head."""

    label: str
    path: str
    icon: str = ""
    is_nested: bool = False


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading over the entries that follow."""

    label: str


NAVIGATION: Final[Mapping[Role, tuple[Entry | Heading, ...]]] = {
    "partner": (
        Entry("Overview", "/partner", "overview"),
        Entry("Codes", "/partner/codes", "ticket"),
        Entry("Purchase codes", "/partner/orders", "plus"),
        Entry("Integration", "/partner/integration", "plug"),
        Entry("Webhooks", "", "hook"),
        Entry("Endpoints", "/partner/endpoints", is_nested=True),
        Entry("Deliveries", "/partner/deliveries", is_nested=True),
        Entry("Dead letters", "/partner/dead-letters", is_nested=True),
        Heading("Set-up"),
        Entry("Team", "/partner/team", "users"),
    ),
    "merchant": (
        Entry("Overview", "/merchant", "overview"),
        Entry("Partners", "/merchant/partners", "users"),
        Entry("Orders", "/merchant/orders", "receipt"),
        Entry("Coupons", "/merchant/coupons", "tag"),
        Entry("Codes", "/merchant/codes", "ticket"),
        Entry("Jobs and imports", "/merchant/jobs", "jobs"),
        Entry("Redemptions", "/merchant/redemptions", "okc"),
        Entry("Reports", "/merchant/reports", "chart"),
        Heading("Set-up"),
        Entry("Webhooks", "", "hook"),
        Entry("Endpoints", "/merchant/endpoints", is_nested=True),
        Entry("Deliveries", "/merchant/deliveries", is_nested=True),
        Entry("Dead letters", "/merchant/dead-letters", is_nested=True),
        Entry("Providers", "/merchant/providers", "plug"),
        Entry("API keys", "/merchant/keys", "key"),
        Entry("Team", "/merchant/team", "user"),
        Entry("Audit log", "/merchant/audit-log", "log"),
        Entry("Program", "/merchant/program", "prog"),
    ),
    "operator": (
        Entry("Health", "/operator", "pulse"),
        Entry("Queues", "/operator/queues", "queue"),
        Entry("Dead queues", "/operator/dead-queues", "dead"),
        Entry("Deliveries", "/operator/deliveries", "hook"),
        Entry("Programs", "/operator/programs", "building"),
        Heading("People"),
        Entry("Accounts", "/operator/accounts", "users"),
        Entry("Activity", "/operator/activity", "log"),
    ),
}


def entries(role: Role, paths: Set[str]) -> list[Entry | Heading]:
    """Return the entries whose pages are among `paths`, and the heads and headings that still have any."""
    kept: list[Entry | Heading] = []
    for entry in reversed(NAVIGATION[role]):
        if isinstance(entry, Heading):
            is_wanted = bool(kept) and isinstance(kept[-1], Entry)
        elif not entry.path:
            is_wanted = bool(kept) and isinstance(kept[-1], Entry) and kept[-1].is_nested
        else:
            is_wanted = entry.path in paths
        if is_wanted:
            kept.append(entry)
    return kept[::-1]


def current(found: list[Entry | Heading], path: str) -> str:
    """Return the path of the entry that a page belongs to: the longest that begins its path."""
    paths = [each.path for each in found if isinstance(each, Entry) and each.path]
    under = [each for each in paths if path == each or path.startswith(f"{each}/")]
    return max(under, key=len, default="")

"""People's accounts, what they act for, and the lives of their sign-ins."""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from shared.accounts import Grade, Role

SESSION_IDLE: Final = timedelta(hours=8)
SESSION_LIFE: Final = timedelta(days=7)
# How long after the password was given it counts for what needs it again.
FRESH: Final = timedelta(minutes=10)
DEVICE_LIFE: Final = timedelta(days=400)
_SYSTEMS: Final = (
    ("Android", "Android"),
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
# In this order: browsers also name those that they descend from.
_BROWSERS: Final = (
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose data a membership reaches: a partner's, a program's, or with neither id everybody's.

    Names, zone and contact are what `codes` said when the membership was made.
    """

    role: Role
    program_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None
    program_name: str = ""
    partner_name: str = ""
    zone: str = "UTC"
    contact: str = ""

    @property
    def title(self) -> str:
        """The name of whose data this is."""
        return self.partner_name or self.program_name or "All programs"

    @property
    def subtitle(self) -> str:
        """Its place among the others."""
        if self.role == "partner":
            return f"Partner of {self.program_name}"
        return "Program" if self.role == "merchant" else "Operator"

    @property
    def key(self) -> tuple[Role, uuid.UUID | None, uuid.UUID | None]:
        """What tells owners apart."""
        return self.role, self.program_id, self.partner_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Membership:
    """What an account may act for, and whether it may change anything there."""

    id: uuid.UUID
    account_id: uuid.UUID
    grade: Grade
    owner: Owner
    created_at: datetime

    @property
    def home(self) -> str:
        """The path of its overview."""
        return f"/{self.owner.role}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person. Without a password hash it cannot sign in."""

    id: uuid.UUID
    email: str
    name: str
    password_hash: str | None
    zone: str | None
    rows_per_page: int
    created_at: datetime
    last_seen_at: datetime | None
    disabled_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One sign-in of an account in one browser."""

    id: uuid.UUID
    account_id: uuid.UUID
    membership_id: uuid.UUID | None
    created_at: datetime
    seen_at: datetime
    confirmed_at: datetime
    device: str
    network: str

    @property
    def ends_at(self) -> datetime:
        """When it ends if it is not used again."""
        return min(self.seen_at + SESSION_IDLE, self.created_at + SESSION_LIFE)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Who looks at a page: the account, its session, and the membership that it acts for now."""

    account: Account
    session: Session
    membership: Membership
    others: tuple[Membership, ...]

    @property
    def role(self) -> Role:
        """The role that it acts in."""
        return self.membership.owner.role

    @property
    def zone(self) -> str:
        """The time zone of its pages: its own choice, except for merchants, or that of the program."""
        own = self.account.zone if self.role != "merchant" else None
        return own or self.membership.owner.zone

    def is_fresh(self, now: datetime) -> bool:
        """Whether the password was given recently enough for what is destructive."""
        return now - self.session.confirmed_at < FRESH


def email_key(email: str) -> str:
    """Return the form of an address in which it is unique."""
    return email.strip().casefold()


def device_of(user_agent: str) -> str:
    """Return a browser and its system in words; the header itself may be anything."""
    browser = next((word for mark, word in _BROWSERS if mark in user_agent), "A browser")
    system = next((word for mark, word in _SYSTEMS if mark in user_agent), "")
    return f"{browser} on {system}" if system else browser


def shortened(network: str) -> str:
    """Return the first half of an address, which is all that is shown or stored."""
    if "." in network:
        return ".".join(network.split(".")[:2]) + ".x.x"
    return ":".join(network.split("/", maxsplit=1)[0].split(":")[:2]) + ":x" if ":" in network else network

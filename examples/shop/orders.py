"""The shop's orders in SQLite. A bag is an order that is not paid yet, so its reference is the same from start to end.

Paying writes the event that has to be published in the same transaction: whatever happens next, it is not lost.
"""

import json
import secrets
import sqlite3
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

CURRENCY, PRICE = "EUR", 4900
PRODUCT = "cinematic-card-signature"
# Without letters that look like digits.
_LETTERS = "ABCDEFGHJKMNPQRSTVWXYZ23456789"
_SCHEMA = """
PRAGMA journal_mode = WAL;
CREATE TABLE IF NOT EXISTS orders (
    ref TEXT PRIMARY KEY, bag TEXT NOT NULL UNIQUE, details TEXT NOT NULL, email TEXT,
    paid_at TEXT, event TEXT, published_at TEXT, outcome TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS orders_to_publish ON orders (paid_at) WHERE event IS NOT NULL AND published_at IS NULL;
"""


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


@dataclass
class Details:
    """What is in an order; amounts are in minor units. `hold` is what was reserved for exactly these contents.

    The customer is filled in, as for one who has an account, so that one press buys.
    """

    codes: list[str] = field(default_factory=list)
    quantity: int = 1
    is_in_bag: bool = False
    picture: str = "lights"
    recipient_name: str = "Sarah"
    email: str = "ben@mail.example"
    occasion: str = "birthday"
    message: str = "Forty, and still the first one on the dance floor. Happy birthday, Sarah."
    hold: dict[str, Any] | None = None
    # What the customer has agreed to pay for exactly these contents; None until Buy is pressed.
    total: int | None = None

    @property
    def subtotal(self) -> int:
        """The price of the cards before codes."""
        return PRICE * self.quantity


@dataclass
class Order:
    """An order. `bag` is the secret of the browser that it belongs to."""

    ref: str
    bag: str
    details: Details
    paid_at: datetime | None = None
    event: str | None = None
    published_at: datetime | None = None
    outcome: dict[str, Any] | None = None


class Orders:
    """Reads and writes orders. The statements are short, so they run in the loop."""

    def __init__(self, file: Path) -> None:
        self._database = sqlite3.connect(file, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def make(self) -> Order:
        """Return a new, empty order; it is stored once something is in it."""
        letters = "".join(secrets.choice(_LETTERS) for _ in range(12))
        return Order(f"AC-{letters[:4]}-{letters[4:8]}-{letters[8:]}", secrets.token_urlsafe(24), Details())

    def of_bag(self, bag: str) -> Order | None:
        """Return the order of a browser."""
        return self._one("SELECT * FROM orders WHERE bag = ?", bag)

    def of_ref(self, ref: str) -> Order | None:
        """Return a paid order; references are long enough not to be guessed."""
        return self._one("SELECT * FROM orders WHERE ref = ? AND paid_at IS NOT NULL", ref)

    def unpublished(self) -> Order | None:
        """Return the paid order that has waited longest for its event to be published."""
        return self._one(
            "SELECT * FROM orders WHERE event IS NOT NULL AND published_at IS NULL ORDER BY paid_at LIMIT 1"
        )

    def has_bought(self, email: str) -> bool:
        """Return whether somebody has paid an order with this address."""
        found = self._database.execute(
            "SELECT 1 FROM orders WHERE email = ? AND paid_at IS NOT NULL", [email.casefold()]
        )
        return found.fetchone() is not None

    def save(self, order: Order) -> None:
        """Store the contents of an order that is not paid."""
        self._database.execute(
            "INSERT INTO orders (ref, bag, details, email) VALUES (?, ?, ?, ?) ON CONFLICT (ref) DO UPDATE SET"
            " details = excluded.details, email = excluded.email WHERE paid_at IS NULL",
            [order.ref, order.bag, json.dumps(asdict(order.details)), order.details.email.casefold()],
        )

    def pay(self, order: Order, event: dict[str, Any] | None) -> bool:
        """Mark an order paid and keep its event to publish; False if it was paid before."""
        done = self._database.execute(
            "UPDATE orders SET details = ?, paid_at = ?, event = ? WHERE ref = ? AND paid_at IS NULL",
            [json.dumps(asdict(order.details)), now().isoformat(), event and json.dumps(event), order.ref],
        )
        return done.rowcount == 1

    def note(self, ref: str, *, published_at: datetime | None = None, outcome: dict[str, Any] | None = None) -> None:
        """Note what became of a paid order's event."""
        self._database.execute(
            "UPDATE orders SET published_at = coalesce(?, published_at), outcome = coalesce(?, outcome) WHERE ref = ?",
            [published_at and published_at.isoformat(), outcome and json.dumps(outcome), ref],
        )

    def _one(self, sql: str, *arguments: str) -> Order | None:
        row = self._database.execute(sql, arguments).fetchone()
        if row is None:
            return None
        times = {name: row[name] and datetime.fromisoformat(row[name]) for name in ("paid_at", "published_at")}
        outcome = row["outcome"] and json.loads(row["outcome"])
        details = Details(**json.loads(row["details"]))
        return Order(row["ref"], row["bag"], details, event=row["event"], outcome=outcome, **times)

"""The words of states, notes and refusals: one word per state, the same on every page."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Tone = Literal["ok", "wait", "warn", "bad", "off"]


@dataclass(frozen=True, slots=True)
class State:
    """A state as it is shown: its word, icon, and colour as the third sign."""

    word: str
    icon: str
    tone: Tone


UNKNOWN: Final = State("Unknown", "unknown", "off")

STATES: Final[Mapping[str, Mapping[str, State]]] = {
    "code": {
        "active": State("Open", "clock", "wait"),
        "open": State("Open", "clock", "wait"),
        "redeemed": State("Redeemed", "okc", "ok"),
        "exhausted": State("Redeemed", "okc", "ok"),
        "expired": State("Expired", "minus", "off"),
        "inactive": State("Switched off", "ban", "off"),
        "held": State("Held", "lock", "wait"),
        "archived": State("Archived", "box", "off"),
    },
    "coupon": {
        "live": State("Live", "okc", "ok"),
        "starts": State("Not started", "clock", "wait"),
        "ended": State("Ended", "minus", "off"),
        "used_up": State("Used up", "minus", "off"),
        "inactive": State("Switched off", "ban", "off"),
        "archived": State("Archived", "box", "off"),
    },
    "order": {
        "pending": State("Waiting for approval", "clock", "warn"),
        "approved": State("Approved", "okc", "ok"),
        "refused": State("Refused", "xc", "bad"),
        "paid": State("Paid", "okc", "ok"),
        "cancelled": State("Cancelled", "minus", "off"),
    },
    "partner": {
        "pending": State("Waiting for approval", "clock", "warn"),
        "active": State("Active", "okc", "ok"),
        "suspended": State("Suspended", "pause", "warn"),
    },
    "key": {"live": State("Live", "okc", "ok"), "revoked": State("Revoked", "ban", "off")},
    "endpoint": {
        "active": State("Healthy", "okc", "ok"),
        "failing": State("Failing", "warn", "warn"),
        "resting": State("Resting", "clock", "warn"),
        "paused": State("Paused", "pause", "wait"),
        "disabled": State("Switched off", "ban", "bad"),
    },
    "delivery": {
        "pending": State("Waiting", "clock", "wait"),
        "in_flight": State("On its way", "again", "wait"),
        "paused": State("Endpoint paused", "pause", "wait"),
        "succeeded": State("Arrived", "okc", "ok"),
        "failed": State("Failed", "xc", "bad"),
        "dead": State("Dead", "xc", "bad"),
        "canceled": State("Cancelled", "minus", "off"),
    },
    "job": {
        "queued": State("Queued", "clock", "wait"),
        "running": State("Running", "again", "wait"),
        "done": State("Done", "okc", "ok"),
        "partly": State("Done, some refused", "warn", "warn"),
        "failed": State("Failed", "xc", "bad"),
        "cancelled": State("Cancelled", "minus", "off"),
    },
    "sync": {
        "in_step": State("In step", "okc", "ok"),
        "pending": State("On its way", "again", "wait"),
        "failed": State("Out of step", "warn", "warn"),
        "none": State("Not connected", "minus", "off"),
    },
    "redemption": {
        "redeemed": State("Redeemed", "okc", "ok"),
        "voided": State("Taken back", "back", "off"),
        "skipped": State("Taken back, not counted", "back", "warn"),
    },
    "service": {
        "ready": State("Ready", "okc", "ok"),
        "not_ready": State("Not ready", "xc", "bad"),
        "behind": State("Behind", "warn", "warn"),
        "unknown": UNKNOWN,
    },
    "account": {
        "active": State("Active", "okc", "ok"),
        "invited": State("Invited", "clock", "wait"),
        "disabled": State("Switched off", "ban", "off"),
    },
}

GRADES: Final[Mapping[str, str]] = {"change": "May change", "look": "May look"}
ROLES: Final[Mapping[str, str]] = {"partner": "Partner", "merchant": "Merchant", "operator": "Operator"}

# The movements of a quota.
MOVES: Final[Mapping[str, str]] = {
    "grant": "Granted",
    "adjustment": "Adjusted",
    "mint": "Minted",
    "refund": "Given back",
}

# Whether the use of a redemption that is taken back is free again, by the coupon's policy.
RELEASES: Final[Mapping[str, str]] = {
    "always": "Its use is free again: the code can be redeemed once more.",
    "until_expiry": "Its use is free again, unless its code has expired.",
    "never": "Its use stays taken: the coupon says so.",
}

# What a redirect says on the page that follows: `?note=`. Only these texts can be shown.
NOTES: Final[Mapping[str, str]] = {
    "signed_out": "You are signed out.",
    "password_set": "Your password is set. Sign in with it.",
    "password_changed": "Your password is changed. All other sign-ins have ended.",
    "account_saved": "Saved.",
    "signin_ended": "That sign-in has ended.",
    "signins_ended": "All other sign-ins have ended.",
    "invited": "The invitation is sent.",
    "invitation_ended": "The invitation no longer works.",
    "member_removed": "Removed. Their sign-ins have ended.",
    "grade_changed": "Saved. Their sign-ins have ended, so that it applies at once.",
    "account_disabled": "The account is switched off. Its sign-ins have ended.",
    "account_enabled": "The account is switched on again.",
    "reset_sent": "The link to set a new password is sent.",
    "address_asked": "A link was sent to the new address. It is yours once you have opened it.",
    "address_changed": "Your address is changed. Sign in with the new one.",
    "joined": "You have joined. Sign in to go on.",
    "accounts_signed_out": "Their sign-ins have ended.",
    "minted": "Minted. Copy its link, or draw it as a QR code.",
    "letters_replayed": "The messages are back in their queue.",
    "letters_purged": "The messages are removed.",
    "delivery_sent": "Sent. What came back is the newest attempt.",
    "order_placed": "Ordered. The merchant decides; the state is below.",
    "order_cancelled": "The order is cancelled.",
    "order_approved": "Approved. The partner can mint the codes.",
    "order_refused": "Refused. The partner sees your reason.",
    "partner_approved": "Approved. The partner can mint.",
    "partner_suspended": "Suspended. The partner's mints and codes are refused.",
    "quota_moved": "The quota is changed.",
    "coupon_on": "Switched on. Its codes can be redeemed.",
    "coupon_off": "Switched off. Its codes are refused.",
    "coupon_archived": "The coupon and its codes are archived.",
    "redemption_voided": "The redemption is taken back.",
}

# What a service's refusal means to the person at the page, by its code. A refusal without a sentence shows its own.
REFUSALS: Final[Mapping[str, str]] = {
    "look_only": "Your account may look, not change. Ask somebody of your team who may change.",
    "scope_missing": "Your account may not do this.",
    "quota_exhausted": "No codes left. Minting is refused until more are granted.",
    "coupon_inactive": "Codes are not being issued at present. Ask your contact at the program.",
    "link_url_missing": "The merchant has not set the address for links: a code would lead nowhere. None is used.",
    "rate_limited": "More than the limit within a minute. Wait a minute, then try again.",
    "idempotency_in_progress": "This is being done right now. Wait a moment, then load the page again.",
    "idempotency_key_reused": "This form was sent before with other values. Open it again.",
    "code_order_decided": "This order is decided already. What is shown is its state now.",
    "code_order_unpaid": "This order is granted by its payment, not by your approval.",
    "partner_inactive": "The partner is not active. Approve the partner first.",
    "quota_would_be_negative": "The partner has fewer codes left than that. Take fewer back.",
    "partner_coupon_needed": "The codes that partners mint belong to this coupon, so it has to stay.",
    "too_many_codes": "It has more codes than can be archived at once. Switch it off instead.",
    "temporarily_unavailable": "The service does not answer at the moment. Try again.",
}

# Why a receiver gave no answer.
NO_ANSWER: Final[Mapping[str | None, str]] = {
    "blocked_address": "Address not allowed",
    "connect_failed": "No connection",
    "connect_timeout": "No connection in time",
    "tls_failed": "TLS failed",
    "timeout": "No answer in time",
    "connection_lost": "Connection lost",
    "invalid_answer": "Not HTTP",
}

# A part of a page whose service does not answer.
SERVICE_DOWN: Final[Mapping[str, str]] = {
    "codes": "The codes service does not answer. Codes and quotas cannot be shown now, and minting may be refused.",
    "redemption": "The redemption service does not answer. Redemptions cannot be shown now.",
    "webhooks": "The webhooks service does not answer. Endpoints and deliveries cannot be shown now.",
}


def state(thing: str, name: str) -> State:
    """Return how a state is shown; one that we do not know is unknown, never well."""
    return STATES[thing].get(name, UNKNOWN)


def choices(thing: str) -> list[tuple[str, str]]:
    """Return the states of a thing with their words, for a choice."""
    return [(name, found.word) for name, found in STATES[thing].items()]

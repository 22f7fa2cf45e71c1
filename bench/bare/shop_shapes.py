"""What the bare programs that decide about orders show, keep and emit: the product's members, as dictionaries."""

import hashlib
import uuid
from datetime import datetime
from typing import Any

import orjson

from shared.events.envelope import OutboxEvent

NAMESPACE = uuid.UUID("0192e4b6-7f3c-7c11-9d0a-6f1f5a0c2e42")
Row = dict[str, Any]


def derived(*parts: str) -> uuid.UUID:
    """Return the same id for the same parts."""
    named = hashlib.sha1(NAMESPACE.bytes + "\x1f".join(parts).encode(), usedforsecurity=False).digest()
    return uuid.UUID(bytes=named[:16], version=5)


def terms_of(code: Row) -> Row:
    """Return the terms of a code as they are kept."""
    return {
        "coupon_uuid_code": code["uuid_code"],
        "coupon_name": code["name"],
        "duration_type": "once",
        "duration_value": None,
        "starts_at": code["starts_at"],
        "expires_at": code["expires_at"],
        "redemption_limit": code["use_limit"],
        "coupon_starts_at": code["coupon_starts_at"],
        "coupon_expires_at": code["coupon_expires_at"],
        "coupon_redemption_limit": code["coupon_limit"],
    }


def discounts_of_lines(text: str | None) -> list[Row] | None:
    """Return the discounts of lines from their stored form."""
    if text is None:
        return None
    return [{"line": n, "product_id": product, "discount_minor": minor} for n, product, minor in orjson.loads(text)]


def discount(row: Row) -> Row:
    """Return the discount of a redemption as it is shown."""
    return {
        "type": row["discount_type"],
        "percent_hundredths": row["percent_hundredths"],
        "amount_minor": row["amount_minor"],
        "currency": row["currency"],
        "applied_minor": row["discount_minor"],
    }


def _commission(row: Row) -> Row | None:
    if row["commission_hundredths"] is None:
        return None
    rate, minor = row["commission_hundredths"], row["commission_minor"]
    return {"percent_hundredths": rate, "amount_minor": minor, "currency": row["currency"]}


def _facts(row: Row) -> Row:
    return {
        "code": row["code"],
        "code_id": str(row["code_id"]),
        "coupon_id": str(row["coupon_id"]),
        "partner_id": None if row["partner_id"] is None else str(row["partner_id"]),
        "order_ref": row["order_ref"],
        "customer_id": row["customer_id"],
        "discount_ends_at": row["discount_ends_at"],
        "commission": _commission(row),
        "occurred_at": row["occurred_at"],
        "is_self_referral": row["is_self_referral"],
    }


def shown_of(row: Row) -> Row:
    """Return a redemption as it is shown."""
    return {
        "id": str(row["id"]),
        "status": "redeemed" if row["voided_at"] is None else "voided",
        **_facts(row),
        "discount": {**discount(row), "lines": discounts_of_lines(row["lines"])},
        "voided_at": row["voided_at"],
        "void_reason": row["void_reason"],
        "is_counted": row["is_counted"],
        "terms": orjson.Fragment(row["terms"]),
        "is_test": False,
    }


def redeemed_members(row: Row, code: Row, order: Row) -> Row:
    """Return what only the event about a redemption has."""
    coupon = code.get("coupon") or {}
    return {
        "order": order["given"],
        "customer": order.get("customer"),
        "attributes": order.get("attributes") or {},
        "attribute_names": code["attribute_names"],
        "codes_remaining": code["quota_remaining"],
        "times_redeemed": code["uses"],
        "times_redeemed_version": code["version"],
        "coupon_times_redeemed": coupon.get("uses"),
        "coupon_times_redeemed_version": coupon.get("version"),
        "terms": orjson.Fragment(row["terms"]),
    }


def event_of(type_: str, row: Row, now: datetime, more: Row) -> OutboxEvent:
    """Return an event about a redemption."""
    id_ = derived(str(row["id"]), type_)
    data = {
        "redemption_id": str(row["id"]),
        "program_id": str(row["program_id"]),
        **_facts(row),
        "discount": discount(row),
        **more,
    }
    body = {
        "specversion": "1.0",
        "id": id_,
        "source": "/bare",
        "type": type_,
        "time": now,
        "datacontenttype": "application/json",
        "dataschema": f"urn:bare:event:{type_}:1",
        "data": data,
    }
    return OutboxEvent(id_, type_, orjson.dumps(body, option=orjson.OPT_UTC_Z))

"""What partners may see of events: the listed members of each type, and nothing else.

A member on no list, such as a new one, is hidden from partners; so is an event whose type has no list.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from services.webhooks.domain.event_types import TEST, is_custom

# What may be seen inside each member; None for a plain value or a list of plain values.
Members: TypeAlias = Mapping[str, "Members | None"]
# Matches every name.
_ANY: Final = "*"


def _members(*names: str, **inside: Members) -> Members:
    return {**dict.fromkeys(names), **inside}


_DISCOUNT: Final = _members("type", "percent_hundredths", "amount_minor", "currency", "applied_minor")
_COMMISSION: Final = _members("percent_hundredths", "amount_minor", "currency")
_TERMS: Final = _members(
    *("coupon_uuid_code", "coupon_name", "duration_type", "duration_value", "starts_at", "expires_at"),
    *("redemption_limit", "coupon_starts_at", "coupon_expires_at", "coupon_redemption_limit"),
)
_CODE: Final = ("program_id", "partner_id", "code", "code_id", "coupon_id", "occurred_at")
_USES: Final = ("times_redeemed", "times_redeemed_version")
_CODE_ORDER: Final = ("program_id", "partner_id", "code_order_id", "count", "reference", "note", "occurred_at")
_ENDPOINT: Final = ("program_id", "partner_id", "endpoint_id")
_DELIVERY: Final = (*_ENDPOINT, "delivery_id", "message_id", "event_type")

# Not shown: the buyer and the other items, other codes of the order, the merchant's notes, and the uses of a coupon,
# which include those of other partners.
_SHOWN: Final[Mapping[str, Members]] = {
    "code.redeemed": _members(
        *(*_CODE, *_USES, "redemption_id", "order_ref", "discount_ends_at", "codes_remaining"),
        discount=_DISCOUNT,
        commission=_COMMISSION,
        # Only those that the program has chosen to share are left here.
        attributes=_members(_ANY),
        terms=_TERMS,
    ),
    "code.redemption_rejected": _members(
        *("program_id", "partner_id", "order_ref", "code", "code_id", "reason", "occurred_at")
    ),
    "code.redemption_skipped": _members(*_CODE, "order_ref", "reason"),
    "code.commission_changed": _members(
        *(*_CODE, "redemption_id", "order_ref", "previous_amount_minor", "commission_version"), commission=_COMMISSION
    ),
    "code.redemption_voided": _members(
        *(*_CODE, *_USES, "redemption_id", "order_ref", "is_released", "was_counted", "redeemed_at"),
        discount=_DISCOUNT,
        commission=_COMMISSION,
    ),
    "code.exhausted": _members(*_CODE, *_USES, "redemption_id", "redemption_limit"),
    "code.updated": _members(
        *(*_CODE, "external_id", "is_active", "starts_at", "expires_at", "redemption_limit", "is_first_order_only"),
        *("minimum_minor", "minimum_currency", "is_limited_to_customer", "is_limited_to_partner"),
        *("commission_hundredths", "archived_at", "changed"),
    ),
    "code_order.created": _members(*_CODE_ORDER),
    "code_order.granted": _members(*_CODE_ORDER, "is_paid", "codes_remaining"),
    "code_order.refused": _members(*_CODE_ORDER, "reason"),
    "code_order.cancelled": _members(*_CODE_ORDER),
    "codes.generated": _members(
        *("program_id", "partner_id", "coupon_id", "codes", "code_ids", "expires_at", "codes_remaining")
    ),
    "codes.batch_completed": _members("program_id", "partner_id", "coupon_id", "job_id", "count", "expires_at"),
    "quota.low": _members("program_id", "partner_id", "codes_remaining", "threshold"),
    "quota.exhausted": _members("program_id", "partner_id"),
    TEST: _members("partner_id", "message"),
    "webhook.certificate_expiring": _members(
        *(*_ENDPOINT, "uid", "occurred_at", "expires_at", "days_left", "fingerprint_sha256")
    ),
    "webhook.delivery_dead": _members(*_DELIVERY, "reason", "attempts", "last_status", "died_at"),
    "webhook.delivery_failing": _members(*_DELIVERY, "attempts", "last_status", "last_error_code", "next_attempt_at"),
    "webhook.delivery_recovered": _members(*_DELIVERY, "attempts", "recovered_at"),
    "webhook.endpoint_archived": _members(*_ENDPOINT, "uid", "occurred_at"),
    "webhook.endpoint_created": _members(*_ENDPOINT, "uid", "occurred_at", "event_types", "status"),
    "webhook.endpoint_disabled": _members(*_ENDPOINT, "reason", "disabled_at"),
    "webhook.endpoint_enabled": _members(*_ENDPOINT, "uid", "occurred_at", "was"),
    "webhook.endpoint_failing": _members(
        *(*_DELIVERY, "level", "failing_since", "disables_at", "last_status", "last_error_code")
    ),
    "webhook.endpoint_paused": _members(*_ENDPOINT, "uid", "occurred_at", "paused_until"),
    "webhook.endpoint_updated": _members(*_ENDPOINT, "uid", "occurred_at", "changed"),
    "webhook.recovered": _members(*_DELIVERY, "failing_since", "recovered_at"),
    "webhook.replay_completed": _members(
        *(*_ENDPOINT, "replay_id", "which", "matched", "enqueued", "skipped", "completed_at")
    ),
    "webhook.secret_readable": _members(*_ENDPOINT, "uid", "occurred_at"),
    "webhook.secret_unreadable": _members(*_ENDPOINT, "uid", "occurred_at", "secret"),
}


# Whether it happened in test mode is shown to everyone.
SHOWN: Final[Mapping[str, Members]] = {name: {**members, "is_test": None} for name, members in _SHOWN.items()}


def has_view(event_type: str) -> bool:
    """Return whether partners get events of this type; events that a program publishes go to the partner they name."""
    return event_type in SHOWN or is_custom(event_type)


def shown_to_partners(event_type: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of an event's data that partners see, in the same order."""
    return _shown(data, SHOWN.get(event_type, {}))


def schema_for_partners(event_type: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of the data that partners see, given the full one."""
    return _schema(schema, SHOWN.get(event_type, {}), schema.get("$defs", {}))


def _shown(data: Mapping[str, Any], members: Members) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    for name, value in data.items():
        if name not in members and _ANY not in members:
            continue
        inside = members.get(name)
        if inside is not None and isinstance(value, Mapping):
            seen[name] = _shown(value, inside)
        elif value is None or (inside is None and _is_plain(value)):
            seen[name] = value
    return seen


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return not any(isinstance(each, list | Mapping) for each in value)
    return not isinstance(value, Mapping)


def _schema(schema: Mapping[str, Any], members: Members, definitions: Mapping[str, Any]) -> dict[str, Any]:
    properties = {
        name: _schema_of_member(node, members[name], definitions)
        for name, node in schema.get("properties", {}).items()
        if name in members
    }
    required = [name for name in schema.get("required", ()) if name in properties]
    rest = {name: node for name, node in schema.items() if name != "$defs"}
    return {**rest, "properties": properties, "required": required}


def _schema_of_member(node: Mapping[str, Any], inside: Members | None, definitions: Mapping[str, Any]) -> Any:
    if "$ref" in node:
        return _schema_of_member(definitions[node["$ref"].rpartition("/")[2]], inside, definitions)
    if "anyOf" in node:
        return {**node, "anyOf": [_schema_of_member(each, inside, definitions) for each in node["anyOf"]]}
    return node if inside is None or "properties" not in node else _schema(node, inside, definitions)

"""The shop's client of Mintwire's checkout API: what codes take off, holding them, and what became of an order."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import aiohttp
from yarl import URL

from .orders import CURRENCY, PRODUCT, Order

# A customer waits for the answer.
_TIMEOUT = aiohttp.ClientTimeout(total=3)
HOLD_SECONDS = 900


class UnavailableError(Exception):
    """Mintwire cannot be reached, or cannot answer now; nothing is known about the codes."""


class RefusedError(Exception):
    """The codes cannot be held; its text is the reason. All of an order's codes are held, or none."""


class Promo:
    """Calls the API with the shop's secret key, which never leaves the server."""

    def __init__(self, session: aiohttp.ClientSession, url: URL, key: str) -> None:
        self._session = session
        self._url = url
        self._headers = {"Authorization": f"Bearer {key}"}

    async def validate(self, order: Order, *, is_first_order: bool) -> dict[str, Any]:
        """Return each code's verdict and the totals; changes nothing."""
        status, answer = await self._call("POST", "v1/validations", _purchase(order, is_first_order))
        return _data(status, answer)

    async def hold(self, order: Order, *, is_first_order: bool) -> dict[str, Any]:
        """Hold the order's codes while the customer pays; safe to repeat, because it is the order's own hold."""
        body = {**_purchase(order, is_first_order), "ttl_seconds": HOLD_SECONDS}
        status, answer = await self._call("POST", "v1/reservations", body)
        if status == HTTPStatus.CONFLICT:
            raise RefusedError(answer["code"])
        return _data(status, answer)

    async def release(self, hold_id: str) -> None:
        """End a hold early, so that others need not wait until it ends by itself."""
        await self._call("DELETE", f"v1/reservations/{hold_id}")

    async def outcome(self, order: Order) -> dict[str, Any] | None:
        """Return what became of each code of a published order, or None while it is not known."""
        status, answer = await self._call("GET", f"v1/orders/{order.ref}")
        if status == HTTPStatus.NOT_FOUND:
            return None
        found = _data(status, answer)
        if taken := {used["code"]: used for used in found["redemptions"]}:
            return {"redeemed": taken}
        # Tries to hold are listed too; only the event decides about a paid order.
        refused = {tried["code"]: tried["reason"] for tried in found["rejections"] if tried["door"] == "event"}
        return {"refused": refused} if refused else None

    async def _call(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        try:
            async with self._session.request(
                method, self._url / path, json=body, headers=self._headers, timeout=_TIMEOUT
            ) as response:
                return response.status, await response.json(content_type=None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise UnavailableError(repr(error)) from error


def _data(status: int, answer: Any) -> dict[str, Any]:
    if status not in (HTTPStatus.OK, HTTPStatus.CREATED):
        # A customer can do nothing about a key that is wrong either; the reason is in the log.
        raise UnavailableError(f"answered {status}: {answer.get('code') if isinstance(answer, Mapping) else ''}")
    data: dict[str, Any] = answer["data"]
    return data


def _purchase(order: Order, is_first_order: bool) -> dict[str, Any]:
    """Return the order as the API reads it; the same members go into the event."""
    details = order.details
    customer = {"email": details.email, "is_first_order": is_first_order} if details.email else None
    items = [{"product_id": PRODUCT, "amount": details.subtotal, "quantity": details.quantity}]
    bought = {"currency": CURRENCY, "subtotal": details.subtotal, "items": items}
    return {"codes": details.codes, "order_ref": order.ref, "customer": customer, "order": bought}


def completed(order: Order, program_id: str, paid_at: str, *, is_first_order: bool) -> dict[str, Any]:
    """Return the event that reports a paid order. Its id comes from the order, so publishing it twice is harmless."""
    details = order.details
    attributes = {
        "card_id": order.ref,
        "recipient_name": details.recipient_name,
        "occasion": details.occasion,
    }
    data = {"program_id": program_id, **_purchase(order, is_first_order), "attributes": attributes}
    return {
        "specversion": "1.0",
        "id": f"{order.ref}-completed",
        "source": "https://aurora.example/checkout",
        "type": "checkout.completed",
        "time": paid_at,
        "data": data,
    }

"""Recognises erased customers: their earlier purchases are stored without them, and every use still counts."""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from services.redemption.domain.customers import Aliases, Digests, Erased, erased_at
from services.redemption.domain.details import Attributes
from services.redemption.domain.purchase import Purchase
from services.redemption.store.customers import find_erased, mark_erased
from services.redemption.usecases.purchases import CompletedCheckout
from shared.database.pool import Connection
from shared.events.checkout import Item


async def recognise(
    connection: Connection,
    purchases: Sequence[Purchase],
    digests: Digests,
    others: Collection[tuple[uuid.UUID, str]] = (),
) -> tuple[list[Purchase], Aliases]:
    """Return the purchases with the erased keys of their buyers, and the names under which these are counted.

    `others` are names of customers, with their programs, whose uses are counted too.
    """
    wanted = {customer: digests.all(*customer) for customer in customers_in(purchases) | set(others)}
    if not wanted:
        return list(purchases), Aliases()
    found = await find_erased(connection, [(program, each) for (program, _), all_ in wanted.items() for each in all_])
    if not found:
        return list(purchases), Aliases()
    known = {
        (program, key): [(each, found[program, each]) for each in all_ if (program, each) in found]
        for (program, key), all_ in wanted.items()
    }
    recognised = [_recognised(purchase, known, digests) for purchase in purchases]
    # An earlier purchase may name a mailbox with the erased id that was unknown at the erasure.
    for (program_id, key), of_key in known.items():
        made = digests(program_id, key)
        if not of_key and any(p.program_id == program_id and key in p.buyer.erased for p in recognised):
            await mark_erased(connection, program_id, [made], max(found.values()))
    return recognised, _aliases(recognised, known)


def customers_in(purchases: Sequence[Purchase]) -> set[tuple[uuid.UUID, str]]:
    """Return the buyers: each plain key, with its program."""
    return {
        (purchase.program_id, key)
        for purchase in purchases
        for key in (purchase.buyer.id_key, purchase.buyer.email_key)
        if key is not None
    }


def without_past(checkout: CompletedCheckout) -> CompletedCheckout:
    """Return a purchase without the data of a customer who was erased since."""
    buyer, customer, order = checkout.purchase.buyer, checkout.customer, checkout.order
    if customer is None or not buyer.erased:
        return checkout
    checkout = replace(checkout, customer=customer.model_copy(update={"id": buyer.kept_id, "email": buyer.kept_email}))
    if not buyer.is_past:
        return checkout
    if order is not None and order.items is not None:
        order = order.model_copy(update={"items": [_line(item) for item in order.items]})
    given = checkout.attributes
    return replace(checkout, order=order, attributes=Attributes(dict.fromkeys(given.kept), given.left_out))


def _recognised(
    purchase: Purchase, known: dict[tuple[uuid.UUID, str], list[tuple[str, datetime]]], digests: Digests
) -> Purchase:
    buyer, program_id = purchase.buyer, purchase.program_id
    erased: dict[str, Erased] = {}
    for key in (buyer.id_key, buyer.email_key):
        if key is not None and (of_key := erased_at(known[program_id, key], purchase.said_at)) is not None:
            erased[key] = of_key
    if not erased:
        return purchase
    recognised = replace(buyer, erased=erased)
    if recognised.is_past and buyer.email_key is not None and buyer.email_key not in erased:
        recognised = replace(
            buyer, erased={**erased, buyer.email_key: Erased(digests(program_id, buyer.email_key), is_past=True)}
        )
    return replace(purchase, buyer=recognised)


def _aliases(
    purchases: Sequence[Purchase], known: Mapping[tuple[uuid.UUID, str], Sequence[tuple[str, datetime]]]
) -> Aliases:
    found = {name: [digest for digest, _ in of_name] for name, of_name in known.items() if of_name}
    for purchase in purchases:
        for key, erased in purchase.buyer.erased.items():
            found.setdefault((purchase.program_id, key), [erased.digest, *erased.others])
    digests: dict[tuple[uuid.UUID, str], str] = {}
    names: dict[str, list[str]] = {}
    for (program_id, key), made in found.items():
        for name in (key, *made[1:]):
            digests[program_id, name] = made[0]
        names[made[0]] = [made[0], key, *made[1:]]
    return Aliases(digests, names)


def _line(item: Item) -> Item:
    line: Item = {}
    if "product_id" in item:
        line["product_id"] = item["product_id"]
    if "amount" in item:
        line["amount"] = item["amount"]
    return line

"""Mints codes for partners: usually all waiting requests in one statement, otherwise each on its own merits."""

import os
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from services.codes.domain.minting import (
    Minted,
    MintingTerms,
    MintOutcome,
    MintRefusal,
    RateState,
    Refused,
    code_link,
    random_part,
)
from services.codes.store import minting, minting_at_once
from services.codes.store.minting import MintRequest, MintResult, MintRow
from services.codes.store.references import find_active, find_referenced
from services.codes.usecases.announcements import codes_minted
from shared import metrics
from shared.api_keys import Credential
from shared.canonical import canonical_code
from shared.database.idempotency import KeptAnswer
from shared.database.outbox import insert_events
from shared.database.pool import Connection
from shared.events.envelope import OutboxEvent
from shared.grouping import Grouping, Results, Work
from shared.idempotency import Once
from shared.ids import new_id

# Enough for the usual lengths; longer codes draw more.
_RANDOM_BYTES = 24
_TERMS_SECONDS = 5.0
_TERMS_LIMIT = 10_000


class Wanted(NamedTuple):
    """A code for the partner of a key, with the partner's reference: the same reference again means the same code."""

    credential: Credential
    reference: str | None = None

    @property
    def name(self) -> tuple[uuid.UUID, str] | None:
        """The identity of its code, if it has a reference."""
        partner_id = self.credential.partner_id
        return None if self.reference is None or partner_id is None else (partner_id, self.reference)


@dataclass(slots=True)
class Written:
    """What a group has written: the events to hand over, and the counts by outcome."""

    events: list[OutboxEvent] = field(default_factory=list)
    results: Counter[MintResult] = field(default_factory=Counter)


@dataclass(slots=True)
class GenerateCode(Work[Wanted, MintOutcome, Written]):
    """Mints one code for each request of a group, or returns the reason why not.

    If the partner has a live code with the same reference, that is returned, whatever its state, and nothing is
    charged.
    """

    hand_over: Callable[[Sequence[OutboxEvent]], None]
    _terms: dict[uuid.UUID, tuple[float, MintingTerms]] = field(default_factory=dict)

    def kind(self, ask: Wanted) -> bool:
        """Keep requests with a reference from slowing down those without, which need no lookup."""
        return ask.reference is not None

    async def decide_at_once(
        self,
        connection: Connection,
        asks: Sequence[Wanted],
        answers: Sequence[Once[MintOutcome] | None],
        now: datetime,
    ) -> Results[MintOutcome, Written] | None:
        """Mint for a whole group without references, the usual case; None if not all get their code."""
        if asks[0].reference is not None:
            return None
        requests = await self._requests(connection, asks, now)
        if not all(request.terms.link_url for request in requests):
            return None
        minted = await minting_at_once.mint_all(connection, requests, _answers(requests, answers), new_id, now)
        if minted is None:
            return None
        rows, events = minted
        outcomes = [_outcome(request, row) for request, row in zip(requests, rows, strict=True)]
        return Results(outcomes, Written(events, Counter(row.result for row in rows)))

    async def decide(
        self,
        connection: Connection,
        asks: Sequence[Wanted],
        now: datetime,
        *,
        is_again: bool,
    ) -> Results[MintOutcome, Written]:
        """Run the statement, and again for requests whose random string was taken.

        References are looked up first, each time in a separate statement and so on a new snapshot: of requests with
        the same one, the first is tried, and the others find the code that it or another process has minted.
        """
        outcomes: dict[int, MintOutcome] = {}
        written = Written()
        left = []
        for index, wanted in enumerate(asks):
            terms = await self._terms_of(connection, wanted.credential, now)
            if terms.link_url:
                left.append(index)
            else:
                outcomes[index] = refused = _refused_without_link(terms)
                written.results[refused.reason] += 1
        key_ids = {asks[index].credential.key_id for index in left}
        while left:
            outcomes |= await _minted_before(connection, asks, left)
            tried = _first_of_each(asks, [index for index in left if index not in outcomes])
            if tried:
                requests = await self._requests(connection, [asks[index] for index in tried], now)
                rows = await minting.mint_group(connection, requests, key_ids, new_id, now)
                made = codes_minted(requests, rows, now)
                await insert_events(connection, made)
                written.events += made
                for index, request, row in zip(tried, requests, rows, strict=True):
                    if row.result != "collided":
                        outcomes[index] = _outcome(request, row)
                        written.results[row.result] += 1
            outcomes |= _refused_alike(asks, left, outcomes)
            left = [index for index in left if index not in outcomes]
        return Results([outcomes[index] for index in range(len(asks))], written)

    async def withhold(self, connection: Connection, asks: Sequence[Wanted]) -> Sequence[MintOutcome | None]:
        """Give an inactive partner no code, not even one that it received before."""
        active = await find_active(connection, {ask.credential.partner_id for ask in asks if ask.credential.partner_id})
        return [None if ask.credential.partner_id in active else Refused("partner_not_active", None) for ask in asks]

    def committed(self, written: Written) -> None:
        """Hand over the events, and count."""
        self.hand_over(written.events)
        for result, times in written.results.items():
            if result == "minted":
                metrics.CODES_MINTED.inc(times)
            else:
                metrics.MINTS_REFUSED.labels(result).inc(times)

    async def _requests(self, connection: Connection, group: Sequence[Wanted], now: datetime) -> list[MintRequest]:
        # Whole milliseconds, so that the stored time is exactly the returned one.
        born = now.replace(microsecond=now.microsecond // 1000 * 1000)
        expiries: dict[int, datetime] = {}
        requests = []
        # Drawn once, because each draw is a system call.
        randomness = os.urandom(_RANDOM_BYTES * len(group))
        for start, (credential, reference) in enumerate(group):
            terms = await self._terms_of(connection, credential, now)
            part = _random(randomness[start * _RANDOM_BYTES : (start + 1) * _RANDOM_BYTES], terms)
            lifetime = terms.code_lifetime_seconds
            if (expires_at := expiries.get(lifetime)) is None:
                expires_at = expiries[lifetime] = born + timedelta(seconds=lifetime)
            code = f"{terms.code_prefix}-{part}"
            canonical = canonical_code(code)
            requests.append(
                MintRequest(
                    key_id=credential.key_id,
                    terms=terms,
                    code_id=new_id(),
                    code=code,
                    canonical=canonical,
                    expires_at=expires_at,
                    reference=reference,
                )
            )
        return requests

    async def _terms_of(self, connection: Connection, credential: Credential, now: datetime) -> MintingTerms:
        partner_id = credential.partner_id
        if partner_id is None:
            raise ValueError("Only a partner's key can generate codes.")
        kept = self._terms.get(partner_id)
        if kept is not None and 0 <= now.timestamp() - kept[0] < _TERMS_SECONDS:
            return kept[1]
        terms = await minting.find_terms(connection, partner_id)
        if terms is None:
            raise LookupError("The partner of a live key has no program with a partner coupon.")
        if not terms.link_url:
            # Not cached: after a refusal for its absence, the next mint must see the new one.
            self._terms.pop(partner_id, None)
            return terms
        if len(self._terms) >= _TERMS_LIMIT:
            self._terms.clear()
        self._terms[partner_id] = (now.timestamp(), terms)
        return terms


async def _minted_before(
    connection: Connection, group: Sequence[Wanted], left: Sequence[int]
) -> dict[int, MintOutcome]:
    """Return the existing codes of requests with a reference."""
    names = {index: name for index in left if (name := group[index].name) is not None}
    if not names:
        return {}
    found = await find_referenced(connection, set(names.values()))
    return {
        index: Minted(code.code, link, code.expires_at, None, name[1], code.remaining)
        for index, name in names.items()
        if (code := found.get(name)) is not None and (link := code_link(code.link_url, code.code)) is not None
    }


Mints: TypeAlias = Grouping[Wanted, MintOutcome, Written]


def _first_of_each(group: Sequence[Wanted], left: Sequence[int]) -> list[int]:
    """Return the requests to mint next: only the first of those with the same reference."""
    seen: set[tuple[uuid.UUID, str]] = set()
    first = []
    for index in left:
        name = group[index].name
        if name is None:
            first.append(index)
        elif name not in seen:
            seen.add(name)
            first.append(index)
    return first


def _refused_alike(
    group: Sequence[Wanted], left: Sequence[int], outcomes: Mapping[int, MintOutcome]
) -> dict[int, MintOutcome]:
    """Refuse requests with the same key and reference as one that was just refused."""
    refused = {
        (group[index].credential.key_id, group[index].reference): outcome
        for index in left
        if group[index].reference is not None and isinstance(outcome := outcomes.get(index), Refused)
    }
    return {
        index: refused[wanted]
        for index in left
        if index not in outcomes and (wanted := (group[index].credential.key_id, group[index].reference)) in refused
    }


def _random(randomness: bytes, terms: MintingTerms) -> str:
    while (part := random_part(randomness, terms.code_alphabet, terms.code_length)) is None:
        randomness = os.urandom(2 * terms.code_length)
    return part


def _answers(requests: Sequence[MintRequest], answers: Sequence[Once[MintOutcome] | None]) -> list[KeptAnswer]:
    """Return the answers to store for a group that is minted completely, without the state of rate limits."""
    kept = []
    for request, once in zip(requests, answers, strict=True):
        link = code_link(request.terms.link_url, request.code)
        if once is not None and once.request is not None and link is not None:
            answer = once.render(Minted(request.code, link, request.expires_at, None))
            kept.append(KeptAnswer(once.request, answer, has_secret=False))
    return kept


def _outcome(request: MintRequest, row: MintRow) -> MintOutcome:
    rate = None
    if row.limit is not None and row.used is not None and row.resets_in_seconds is not None:
        rate = RateState(row.limit, row.used, max(0.0, row.resets_in_seconds))
    if row.result == "minted" and (link := code_link(request.terms.link_url, request.code)) is not None:
        if request.reference is None:
            return Minted(request.code, link, request.expires_at, rate)
        return Minted(request.code, link, request.expires_at, rate, request.reference, row.remaining)
    if row.result == "minted" or row.result == "collided":
        raise AssertionError("no mint is tried without a link, and a collided request is tried again")
    return Refused(row.result, rate)


def _refused_without_link(terms: MintingTerms) -> Refused:
    # An inactive account is the first reason that a partner gets.
    reason: MintRefusal = "link_url_missing" if terms.is_partner_active else "partner_not_active"
    return Refused(reason, None)

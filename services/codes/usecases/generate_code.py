"""Mints a code for a partner. Requests that arrive while a statement is in flight go together into the next one.

There is no timer: an idle service decides a request alone and at once, a busy one pays one flush for all that wait.
"""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

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
from services.codes.store import minting as store
from services.codes.store.minting import MintRequest, MintRow
from services.codes.store.references import find_referenced
from shared import metrics
from shared.api_keys import Credential
from shared.canonical import canonical_code
from shared.clock import Clock
from shared.database.faults import transient_faults
from shared.database.pool import Connection, Database, is_usable
from shared.events.envelope import OutboxEvent
from shared.faults import TransientFault
from shared.ids import new_id
from shared.log import get_logger

MAX_GROUP = 500
# Enough for the usual lengths; a part that needs more asks for more.
_RANDOM_BYTES = 24
_TERMS_SECONDS = 5.0
_TERMS_LIMIT = 10_000


class Wanted(NamedTuple):
    """A code for the partner of a key, and what the partner calls it: the same name again means the same code."""

    credential: Credential
    reference: str | None = None

    @property
    def name(self) -> tuple[uuid.UUID, str] | None:
        """By what its code is known, if it has a reference."""
        partner_id = self.credential.partner_id
        return None if self.reference is None or partner_id is None else (partner_id, self.reference)


@dataclass(slots=True)
class _Waiting:
    wanted: Wanted
    answer: asyncio.Future[MintOutcome]


@dataclass(slots=True)
class GenerateCode:
    """Mints codes in groups; `running()` must be entered before the first call."""

    database: Database
    clock: Clock
    hand_over: Callable[[Sequence[OutboxEvent]], None]
    _waiting: list[_Waiting] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _terms: dict[uuid.UUID, tuple[float, MintingTerms]] = field(default_factory=dict)
    _is_stopping: bool = False
    # Kept, because asking for the running loop is a system call.
    _loop: asyncio.AbstractEventLoop = field(init=False)

    async def __call__(self, credential: Credential, reference: str | None = None) -> MintOutcome:
        """Mint one code for the key's partner, or say why not; raises TransientFault if the database is away.

        A live code of the partner with the same reference is returned instead, whatever its state, and charged nothing.
        """
        answer: asyncio.Future[MintOutcome] = self._loop.create_future()
        self._waiting.append(_Waiting(Wanted(credential, reference), answer))
        if not self._wake.is_set():
            self._wake.set()
        return await answer

    async def mint_within(
        self, connection: Connection, credential: Credential, reference: str | None = None
    ) -> tuple[MintOutcome, list[OutboxEvent]]:
        """Mint one code inside the caller's transaction, who hands the events over once it has committed."""
        outcomes, events = await self._decide(connection, [Wanted(credential, reference)])
        return outcomes[0], events

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Work through what waits for as long as the block lasts, and finish what is in hand at its end."""
        self._is_stopping = False
        self._loop = asyncio.get_running_loop()
        worker = asyncio.create_task(self._work())
        try:
            yield
        finally:
            self._is_stopping = True
            self._wake.set()
            await worker

    async def _work(self) -> None:
        while self._waiting or not self._is_stopping:
            await self._wake.wait()
            if self._waiting:
                await self._work_connected()

    async def _work_connected(self) -> None:
        """Work with one connection for as long as it lives: lending it anew for each group costs more than a mint."""
        group: list[_Waiting] | None = None
        try:
            async with self.database.connection() as connection:
                while is_usable(connection):
                    if group := self._next_group():
                        for part in _parts(group):
                            await self._mint(connection, part)
                    elif self._is_stopping:
                        return
                    else:
                        await self._wake.wait()
        except TransientFault as fault:
            # Without a group in hand no connection was to be had.
            for waiting in self._next_group() if group is None else group:
                _fail(waiting, fault)

    def _next_group(self) -> list[_Waiting]:
        group, self._waiting = self._waiting[:MAX_GROUP], self._waiting[MAX_GROUP:]
        if not self._waiting and not self._is_stopping:
            self._wake.clear()
        return group

    async def _mint(self, connection: Connection, group: Sequence[_Waiting]) -> None:
        metrics.MINT_GROUP.observe(len(group))
        try:
            with transient_faults():
                outcomes, events = await self._decide_together(connection, [w.wanted for w in group])
        except TransientFault:
            raise
        except Exception as error:  # noqa: BLE001 - one bad request must not fail its neighbours: each is tried alone
            if len(group) == 1:
                _fail(group[0], error)
                return
            get_logger().error("mint_group_failed", size=len(group), error=type(error).__name__)
            for waiting in group:
                await self._mint(connection, [waiting])
        else:
            self.hand_over(events)
            for waiting, outcome in zip(group, outcomes, strict=True):
                if not waiting.answer.done():
                    waiting.answer.set_result(outcome)

    async def _decide_together(
        self, connection: Connection, group: Sequence[Wanted]
    ) -> tuple[list[MintOutcome], list[OutboxEvent]]:
        """Mint for all at once, which is the usual case; where something is in the way of any, judge each."""
        if group[0].reference is not None:
            return await self._decide(connection, group)
        now = self.clock()
        requests = await self._requests(connection, group, now)
        minted = None
        if all(request.terms.link_url for request in requests):
            minted = await store.mint_all(connection, requests, new_id, now)
        if minted is None:
            return await self._decide(connection, group)
        rows, events = minted
        return [_outcome(request, row) for request, row in zip(requests, rows, strict=True)], events

    async def _decide(
        self, connection: Connection, group: Sequence[Wanted]
    ) -> tuple[list[MintOutcome], list[OutboxEvent]]:
        """Run the statement, again for those whose random string was taken; what is committed stays answered.

        What has a reference is looked for first, each time in a statement of its own and so on a new snapshot: of
        those with the same one the first is tried, and the others find what it has minted, or what another process has.
        """
        outcomes: dict[int, MintOutcome] = {}
        events: list[OutboxEvent] = []
        left = []
        for index, wanted in enumerate(group):
            terms = await self._terms_of(connection, wanted.credential, self.clock())
            if terms.link_url:
                left.append(index)
            else:
                outcomes[index] = _refused_without_link(terms)
        while left:
            outcomes |= await _minted_before(connection, group, left)
            tried = _first_of_each(group, [index for index in left if index not in outcomes])
            if tried:
                now = self.clock()
                requests = await self._requests(connection, [group[index] for index in tried], now)
                rows, made = await store.mint_group(connection, requests, new_id, now)
                events += made
                for index, request, row in zip(tried, requests, rows, strict=True):
                    if row.result != "collided":
                        outcomes[index] = _outcome(request, row)
            outcomes |= _refused_alike(group, left, outcomes)
            left = [index for index in left if index not in outcomes]
        return [outcomes[index] for index in range(len(group))], events

    async def _requests(self, connection: Connection, group: Sequence[Wanted], now: datetime) -> list[MintRequest]:
        # Whole milliseconds, so that what is stored is exactly what the partner is told.
        born = now.replace(microsecond=now.microsecond // 1000 * 1000)
        expiries: dict[int, datetime] = {}
        requests = []
        # Asked for once, because each asking is a system call.
        randomness = os.urandom(_RANDOM_BYTES * len(group))
        for start, (credential, reference) in enumerate(group):
            terms = await self._terms_of(connection, credential, now)
            part = _random(randomness[start * _RANDOM_BYTES : (start + 1) * _RANDOM_BYTES], terms)
            lifetime = terms.code_lifetime_seconds
            if (expires_at := expiries.get(lifetime)) is None:
                expires_at = expiries[lifetime] = born + timedelta(seconds=lifetime)
            code = f"{terms.code_prefix}-{part}"
            canonical = canonical_code(code)
            requests.append(MintRequest(credential.key_id, terms, new_id(), code, canonical, expires_at, reference))
        return requests

    async def _terms_of(self, connection: Connection, credential: Credential, now: datetime) -> MintingTerms:
        partner_id = credential.partner_id
        if partner_id is None:
            raise ValueError("Only a partner's key can generate codes.")
        kept = self._terms.get(partner_id)
        if kept is not None and 0 <= now.timestamp() - kept[0] < _TERMS_SECONDS:
            return kept[1]
        terms = await store.find_terms(connection, partner_id)
        if terms is None:
            raise LookupError("The partner of a live key has no program with a partner coupon.")
        if not terms.link_url:
            # Not kept: the mint after the one that was refused for it must see that it is there.
            self._terms.pop(partner_id, None)
            return terms
        if len(self._terms) >= _TERMS_LIMIT:
            self._terms.clear()
        self._terms[partner_id] = (now.timestamp(), terms)
        return terms


def _parts(group: Sequence[_Waiting]) -> Sequence[Sequence[_Waiting]]:
    """Keep those with a reference from slowing down those without, which need no look for what was minted before."""
    named = [waiting for waiting in group if waiting.wanted.reference is not None]
    if not named:
        return (group,)
    plain = [waiting for waiting in group if waiting.wanted.reference is None]
    return (plain, named) if plain else (named,)


async def _minted_before(
    connection: Connection, group: Sequence[Wanted], left: Sequence[int]
) -> dict[int, MintOutcome]:
    """Return what is there already of those that have a reference."""
    names = {index: name for index in left if (name := group[index].name) is not None}
    if not names:
        return {}
    found = await find_referenced(connection, set(names.values()))
    return {
        index: Minted(code.code, link, code.expires_at, None, name[1], code.remaining)
        for index, name in names.items()
        if (code := found.get(name)) is not None and (link := code_link(code.link_url, code.code)) is not None
    }


def _first_of_each(group: Sequence[Wanted], left: Sequence[int]) -> list[int]:
    """Return which are to be minted next: of those with the same reference the first alone."""
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
    """Refuse those that ask for the same by the same key as one that was refused just now."""
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


def _outcome(request: MintRequest, row: MintRow) -> MintOutcome:
    rate = None
    if row.limit is not None and row.used is not None and row.resets_in_seconds is not None:
        rate = RateState(row.limit, row.used, max(0.0, row.resets_in_seconds))
    if row.result == "minted" and (link := code_link(request.terms.link_url, request.code)) is not None:
        metrics.CODES_MINTED.inc()
        if request.reference is None:
            return Minted(request.code, link, request.expires_at, rate)
        return Minted(request.code, link, request.expires_at, rate, request.reference, row.remaining)
    if row.result == "minted" or row.result == "collided":
        raise AssertionError("no mint is asked for without a link, and a collided request is tried again")
    metrics.MINTS_REFUSED.labels(row.result).inc()
    return Refused(row.result, rate)


def _refused_without_link(terms: MintingTerms) -> Refused:
    # That the account is not active is the first thing that a partner is told.
    reason: MintRefusal = "link_url_missing" if terms.is_partner_active else "partner_not_active"
    metrics.MINTS_REFUSED.labels(reason).inc()
    return Refused(reason, None)


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)

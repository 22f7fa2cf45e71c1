"""One effect and one answer per Idempotency-Key: answers are stored for 72 hours, in the transaction of their effects.

The order matters: the lock first, then the lookup of a stored answer in a new statement (hence a new snapshot). A
second request with the key never waits; it learns that the first is in progress. The service's schema has the table
`idempotency_keys`.
"""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from shared.clock import Clock
from shared.database.pool import Connection, Database, affected
from shared.database.rows import Statement
from shared.database.seal_forms import sealed
from shared.database.sealing import Place, Seal, SealBroken, SealCheck, place
from shared.idempotency import (
    Answer,
    AnswerUnreadable,
    IdempotencyInProgress,
    IdempotencyKeyReused,
    IdempotentRequest,
    Once,
    identity,
)
from shared.known_ids import FIRST_ID

T = TypeVar("T")
Work = Callable[[Connection, datetime], Awaitable[T]]

KEPT_FOR: Final = timedelta(hours=72)
_SEALED_AT_ONCE: Final = 200

TRY_LOCKS = """
SELECT nth, pg_try_advisory_xact_lock(lock_id) AS is_ours FROM unnest($1::bigint[]) WITH ORDINALITY AS r (lock_id, nth)
"""
# OFFSET 0 forces one lookup at a time by primary key.
FIND_ANSWERS = """
SELECT r.nth, k.request_sha256, k.status, k.body, k.is_encrypted
FROM unnest($1::uuid[], $2::text[], $3::text[]) WITH ORDINALITY AS r (owner_id, route, key, nth)
CROSS JOIN LATERAL (
    SELECT request_sha256, status, body, is_encrypted FROM idempotency_keys
    WHERE owner_id = r.owner_id AND route = r.route AND key = r.key AND created_at > $4
    OFFSET 0) k
"""
# An existing row is too old to count: a newer one would have been the answer.
SAVE_ANSWERS = Statement("""
INSERT INTO idempotency_keys (owner_id, route, key, request_sha256, status, body, is_encrypted, created_at)
SELECT a.*, $now
FROM @a(owner_id uuid, route text, key text, request_sha256 bytea, status smallint, body bytea, is_encrypted boolean)
ON CONFLICT (owner_id, route, key) DO UPDATE
SET request_sha256 = excluded.request_sha256, status = excluded.status, body = excluded.body,
    is_encrypted = excluded.is_encrypted, created_at = excluded.created_at
""")
PURGE_ANSWERS = """
DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_keys WHERE created_at <= $1
    ORDER BY created_at LIMIT $2 FOR UPDATE SKIP LOCKED))
"""
LIST_SEALED_ANSWERS = """
SELECT owner_id, route, key, body FROM idempotency_keys
WHERE is_encrypted AND (owner_id, route, key) > ($1, $2, $3)
ORDER BY owner_id, route, key LIMIT $4
"""
RENEW_ANSWER = """
UPDATE idempotency_keys SET body = $5 WHERE owner_id = $1 AND route = $2 AND key = $3 AND body = $4
"""


# The result of claiming a key: nothing, the stored answer, or why there is none.
Claim: TypeAlias = Answer | IdempotencyInProgress | IdempotencyKeyReused | AnswerUnreadable | None


class KeptAnswer(NamedTuple):
    """An answer to be stored for repeats of its request, encrypted if it has a secret."""

    request: IdempotentRequest
    answer: Answer
    has_secret: bool


@dataclass(frozen=True, slots=True)
class KeptAnswers:
    """Keys and the answers under them, any number of them by one statement, in the caller's transaction.

    A service whose answers have no secrets needs no `seal`.
    """

    seal: Seal | None = None

    async def claim(
        self, connection: Connection, requests: Sequence[IdempotentRequest], now: datetime
    ) -> Sequence[Claim]:
        """Make this transaction the only one for these requests if they are free; return the result of each claim.

        None stands for a request to be handled now: the first one of those with the same key.
        """
        locks = await connection.fetch(TRY_LOCKS, [request.lock_id for request in requests])
        found = await self._find(connection, requests, now)
        is_ours = {row["nth"] - 1 for row in locks if row["is_ours"]}
        claims: list[Claim] = []
        claimed: set[bytes] = set()
        for nth, request in enumerate(requests):
            if nth in is_ours and nth in found:
                claims.append(self._answer(request, found[nth]))
            elif nth in is_ours and request.identity not in claimed:
                claimed.add(request.identity)
                claims.append(None)
            else:
                claims.append(IdempotencyInProgress())
        return claims

    async def keep(self, connection: Connection, answers: Sequence[KeptAnswer], now: datetime) -> None:
        """Store answers to requests that this transaction has claimed."""
        if answers:
            written = [await self._sealed_if_secret(connection, kept) for kept in answers]
            await connection.execute(*SAVE_ANSWERS(a=answer_columns(written), now=now))

    async def _find(
        self, connection: Connection, requests: Sequence[IdempotentRequest], now: datetime
    ) -> dict[int, Any]:
        rows = await connection.fetch(
            FIND_ANSWERS,
            [request.owner_id for request in requests],
            [request.route for request in requests],
            [request.key for request in requests],
            now - KEPT_FOR,
        )
        return {row["nth"] - 1: row for row in rows}

    def _answer(self, request: IdempotentRequest, row: Any) -> Claim:
        if row["request_sha256"] != request.request_sha256:
            return IdempotencyKeyReused()
        if not row["is_encrypted"]:
            return Answer(row["status"], row["body"], is_replayed=True)
        try:
            body = self._sealed().open(row["body"], answer_place(request.owner_id, request.route, request.key))
        except SealBroken:
            return AnswerUnreadable()
        return Answer(row["status"], body, is_replayed=True)

    async def _sealed_if_secret(self, connection: Connection, kept: KeptAnswer) -> KeptAnswer:
        if not kept.has_secret:
            return kept
        request = kept.request
        at = answer_place(request.owner_id, request.route, request.key)
        body = await sealed(connection, self._sealed(), kept.answer.body, at)
        return kept._replace(answer=replace(kept.answer, body=body))

    def _sealed(self) -> Seal:
        if self.seal is None:
            raise TypeError("an answer with a secret needs a seal")
        return self.seal


@dataclass(frozen=True, slots=True)
class AnswerOnce:
    """Runs work in a transaction of its own and stores the answer with its effect: for infrequent requests.

    Frequent requests share transactions: `shared.grouping`.
    """

    database: Database
    clock: Clock
    seal: Seal | None

    async def __call__(self, once: Once[T], work: Work[T]) -> Answer:
        """Return the answer to this request, or the one stored under its key.

        Raises what `work` raises, with nothing done or stored; IdempotencyInProgress, IdempotencyKeyReused,
        AnswerUnreadable if the stored one cannot be decrypted, TransientFault.
        """
        kept, now = KeptAnswers(self.seal), self.clock()
        async with self.database.transaction() as connection:
            if once.request is None:
                return once.render(await work(connection, now))
            [claim] = await kept.claim(connection, [once.request], now)
            if isinstance(claim, Answer):
                return claim
            if claim is not None:
                raise claim
            result = await work(connection, now)
            answer = once.render(result)
            if once.keeps(result, answer):
                await kept.keep(connection, [KeptAnswer(once.request, answer, once.has_secret)], now)
            return answer


def answer_columns(answers: Sequence[KeptAnswer]) -> dict[str, list[Any]]:
    """Return answers as columns of the table of this module."""
    return {
        "owner_id": [kept.request.owner_id for kept in answers],
        "route": [kept.request.route for kept in answers],
        "key": [kept.request.key for kept in answers],
        "request_sha256": [kept.request.request_sha256 for kept in answers],
        "status": [kept.answer.status for kept in answers],
        "body": [kept.answer.body for kept in answers],
        "is_encrypted": [kept.has_secret for kept in answers],
    }


async def purge_answers(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` expired answers that were stored before a time."""
    return affected(await connection.execute(PURGE_ANSWERS, before, limit))


async def check_answers(database: Database, check: SealCheck) -> None:
    """Check every sealed answer, and rewrite those that need to be sealed again."""
    after: tuple[uuid.UUID, str, str] = (FIRST_ID, "", "")
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(LIST_SEALED_ANSWERS, *after, _SEALED_AT_ONCE)
            for row in rows:
                after = (row["owner_id"], row["route"], row["key"])
                looked = check.look(row["body"], answer_place(*after))
                if looked.renewed is not None:
                    await connection.execute(RENEW_ANSWER, *after, row["body"], looked.renewed)
        if len(rows) < _SEALED_AT_ONCE:
            return


def answer_place(owner_id: uuid.UUID, route: str, key: str) -> Place:
    """Return the place to which the sealed answer to a request is bound."""
    return place("answer", owner_id, route, key, first_form=identity(owner_id, route, key))

"""One effect and one answer per Idempotency-Key: answers kept for 72 hours, in the transaction of what they report.

The order matters: the lock first, then in a new statement (hence a new snapshot) the look for a kept answer. A twin
never waits; it learns that the first is in progress. The service's schema has the table `idempotency_keys`.
"""

import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, TypeVar

from shared.clock import Clock
from shared.database.pool import Connection, Database, affected
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

T = TypeVar("T")
Work = Callable[[Connection, datetime], Awaitable[T]]

KEPT_FOR: Final = timedelta(hours=72)
_SEALED_AT_ONCE: Final = 200

TRY_LOCK = "SELECT pg_try_advisory_xact_lock($1)"
FIND_ANSWER = """
SELECT request_sha256, status, body, is_encrypted FROM idempotency_keys
WHERE owner_id = $1 AND route = $2 AND key = $3 AND created_at > $4
"""
# A row can only be there if it is too old to count: a younger one would have been the answer.
SAVE_ANSWER = """
INSERT INTO idempotency_keys (owner_id, route, key, request_sha256, status, body, is_encrypted, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (owner_id, route, key) DO UPDATE
SET request_sha256 = $4, status = $5, body = $6, is_encrypted = $7, created_at = $8
"""
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


@dataclass(frozen=True, slots=True)
class AnswerOnce:
    """Runs work in a transaction of its own and keeps the answer beside its effect.

    A service whose answers have no secrets needs no `seal`.
    """

    database: Database
    clock: Clock
    seal: Seal | None

    async def __call__(self, once: Once[T], work: Work[T]) -> Answer:
        """Return the answer of this request or the kept one of its twin.

        Raises what `work` raises, with nothing done or kept; IdempotencyInProgress, IdempotencyKeyReused,
        AnswerUnreadable where the kept one cannot be opened, TransientFault.
        """
        now = self.clock()
        async with self.database.transaction() as connection:
            if once.request is None:
                return once.render(await work(connection, now))
            kept = await self._claim(connection, once.request, now)
            if kept is not None:
                return kept
            result = await work(connection, now)
            answer = once.render(result)
            if once.keeps(result, answer):
                await self._save(connection, once.request, answer, now, is_sealed=once.has_secret)
            return answer

    async def _claim(self, connection: Connection, request: IdempotentRequest, now: datetime) -> Answer | None:
        """Make this transaction the only one for the request and return the kept answer, if there is one."""
        if not await connection.fetchval(TRY_LOCK, request.lock_id):
            raise IdempotencyInProgress
        row = await connection.fetchrow(FIND_ANSWER, request.owner_id, request.route, request.key, now - KEPT_FOR)
        if row is None:
            return None
        if row["request_sha256"] != request.request_sha256:
            raise IdempotencyKeyReused
        body = self._open(request, row["body"]) if row["is_encrypted"] else row["body"]
        return Answer(row["status"], body, is_replayed=True)

    def _open(self, request: IdempotentRequest, sealed: bytes) -> bytes:
        try:
            return self._sealed().open(sealed, answer_place(request.owner_id, request.route, request.key))
        except SealBroken:
            raise AnswerUnreadable from None

    async def _save(
        self, connection: Connection, request: IdempotentRequest, answer: Answer, now: datetime, *, is_sealed: bool
    ) -> None:
        body = answer.body
        if is_sealed:
            at = answer_place(request.owner_id, request.route, request.key)
            body = await sealed(connection, self._sealed(), body, at)
        await connection.execute(
            SAVE_ANSWER,
            request.owner_id,
            request.route,
            request.key,
            request.request_sha256,
            answer.status,
            body,
            is_sealed,
            now,
        )

    def _sealed(self) -> Seal:
        if self.seal is None:
            raise TypeError("an answer with a secret needs a seal")
        return self.seal


async def purge_answers(connection: Connection, before: datetime, limit: int) -> int:
    """Remove up to `limit` answers that were kept before a time and count no longer."""
    return affected(await connection.execute(PURGE_ANSWERS, before, limit))


async def check_answers(database: Database, check: SealCheck) -> None:
    """Look at every kept sealed answer, and rewrite those that need to be sealed again."""
    after: tuple[uuid.UUID, str, str] = (uuid.UUID(int=0), "", "")
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
    """Return the place that the sealed answer to a request is bound to."""
    return place("answer", owner_id, route, key, first_form=identity(owner_id, route, key))

"""Mints without HTTP: one program, and replicas of the use case over its database."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from services.codes.domain.minting import Minted, MintOutcome
from services.codes.usecases.generate_code import GenerateCode, Mints, Wanted
from shared import api_keys, metrics
from shared.api_keys import Credential
from shared.clock import utc_now
from shared.database.idempotency import KeptAnswers
from shared.database.pool import Database as Pool
from shared.database.pool import connect
from shared.events.catalogue import PUBLISHED
from shared.events.codes import CodesGeneratedV1
from shared.events.envelope import OutboxEvent, decode_data, decode_envelope
from shared.grouping import Grouping
from shared.ids import new_id
from tests.databases import Database


def mints(pool: Pool, handed_over: list[OutboxEvent]) -> Mints:
    """Wire the use case as the service does."""
    return Grouping("mint", pool, utc_now, GenerateCode(handed_over.extend), KeptAnswers(), metrics.MINT_GROUP)


class World:
    """One program, and replicas of the use case over the same database."""

    def __init__(self, admin: "asyncpg.Connection[asyncpg.Record]", replicas: list[Mints]) -> None:
        self.admin, self.replicas = admin, replicas
        self.program_id, self.coupon_id = uuid.uuid4(), uuid.uuid4()
        self.handed_over: list[OutboxEvent] = []

    async def make_program(self, alphabet: str = "0123456789ABCDEF", length: int = 8) -> None:
        await self.admin.execute(
            """INSERT INTO programs (id, name, link_url, code_alphabet, code_length, created_at, updated_at)
               VALUES ($1, 'Cards', 'https://cards.example/', $2, $3, now(), now())""",
            self.program_id,
            alphabet,
            length,
        )
        await self.admin.execute(
            """INSERT INTO coupons (id, program_id, uuid_code, name, is_partner_coupon, discount_type,
                   percent_hundredths, duration_type, code_redemption_limit, created_at, updated_at)
               VALUES ($1, $2, 'partner', 'Partner', true, 'percent', 10000, 'once', 1, now(), now())""",
            self.coupon_id,
            self.program_id,
        )

    async def make_partner(
        self, *, quota: int, limit: int | None = None, status: str = "active", keys: int = 1
    ) -> list[Credential]:
        partner_id = uuid.uuid4()
        await self.admin.execute(
            """INSERT INTO partners (id, program_id, name, status, code_prefix, quota_granted, created_at, updated_at)
               VALUES ($1, $2, 'Acme', $3, $4, $5, now(), now())""",
            partner_id,
            self.program_id,
            status,
            "P" + partner_id.hex[:6].upper(),
            quota,
        )
        made = []
        for slot in range(1, keys + 1):
            key = api_keys.generate("secret", new_id())
            await self.admin.execute(
                """INSERT INTO api_keys (id, program_id, partner_id, kind, slot, scopes, digest, rate_limit_per_minute,
                       created_at) VALUES ($1, $2, $3, 'secret', $4, '{codes:generate}', $5, $6, now())""",
                key.key_id,
                self.program_id,
                partner_id,
                slot,
                key.digest,
                limit,
            )
            scopes = frozenset({"codes:generate"})
            made.append(
                Credential(
                    key.key_id, key.digest, "secret", scopes, limit, self.program_id, "Cards", partner_id, "Acme",
                    status, None,
                )
            )  # fmt: skip
        return made

    async def generate(self, credentials: Sequence[Credential]) -> list[MintOutcome]:
        """Ask for one code per credential, all at once, in turn on the replicas."""
        asks = [
            self.replicas[n % len(self.replicas)].outcome(Wanted(credential))
            for n, credential in enumerate(credentials)
        ]
        return list(await asyncio.gather(*asks))

    async def check_books(self) -> None:
        """Counters, ledger, codes and events tell the same story."""
        wrong = await self.admin.fetch("""
            SELECT id FROM partners p
            WHERE quota_minted <> (SELECT coalesce(sum(amount), 0) FROM quota_ledger
                                   WHERE kind = 'mint' AND partner_id = p.id)
               OR quota_minted <> (SELECT count(*) FROM promotion_codes WHERE partner_id = p.id)""")
        assert wrong == []
        listed = await self.admin.fetchval(
            "SELECT array_agg(c ORDER BY c) FROM quota_ledger l, unnest(l.code_ids) AS c WHERE l.kind = 'mint'"
        )
        stored = await self.admin.fetchval("SELECT array_agg(id ORDER BY id) FROM promotion_codes")
        assert listed == stored
        bodies = await self.admin.fetch("SELECT body FROM events WHERE type = 'codes.generated'")
        told = [decode_data(decode_envelope(row["body"]), CodesGeneratedV1) for row in bodies]
        assert sorted(code_id for event in told for code_id in event.code_ids) == (stored or [])
        assert {event.id for event in self.handed_over} == {
            row["event_id"] for row in await self.admin.fetch("SELECT event_id FROM outbox")
        }

    def told(self, type_: str) -> list[dict[str, Any]]:
        """The data of what was handed over, read strictly by its model."""
        envelopes = [decode_envelope(event.body) for event in self.handed_over if event.type == type_]
        models = {model.type: model for model in PUBLISHED["codes"]}
        return [decode_data(envelope, models[type_]).model_dump(mode="json") for envelope in envelopes]


@asynccontextmanager
async def made_world(database: Database) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        admin = await asyncpg.connect(database.admin, server_settings={"search_path": "codes"})
        stack.push_async_callback(admin.close)
        handed_over: list[OutboxEvent] = []
        replicas = []
        for _ in range(2):
            pool = await stack.enter_async_context(connect(database.codes, "codes", 4))
            replica = mints(pool, handed_over)
            await stack.enter_async_context(replica.running())
            replicas.append(replica)
        made = World(admin, replicas)
        made.handed_over = handed_over
        await made.make_program()
        yield made


def counted(outcomes: Sequence[MintOutcome]) -> Counter[str]:
    return Counter("minted" if isinstance(o, Minted) else o.reason for o in outcomes)

"""Mints a code under an Idempotency-Key: a repeat gets the same code and is charged nothing.

A partner that is not active gets no code, not even one that it was given before; what is kept waits until it is.
"""

from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.minting import MintOutcome, Refused
from services.codes.store.references import is_partner_active
from services.codes.usecases.generate_code import GenerateCode
from shared.api_keys import Credential
from shared.database.idempotency import AnswerOnce
from shared.database.pool import Connection
from shared.events.envelope import OutboxEvent
from shared.idempotency import Answer, Once


@dataclass(frozen=True, slots=True)
class GenerateCodeOnce:
    """Code, charge, event and answer are one transaction."""

    generate_code: GenerateCode
    answer_once: AnswerOnce

    async def __call__(self, credential: Credential, once: Once[MintOutcome], reference: str | None = None) -> Answer:
        """Mint one code for the key's partner, or give the kept answer."""
        events: list[OutboxEvent] = []

        async def work(connection: Connection, _: datetime) -> MintOutcome:
            outcome, made = await self.generate_code.mint_within(connection, credential, reference)
            events.extend(made)
            return outcome

        answer = await self.answer_once(once, work)
        self.generate_code.hand_over(events)
        if answer.is_replayed and not await self._is_active(credential):
            return once.render(Refused("partner_not_active", None))
        return answer

    async def _is_active(self, credential: Credential) -> bool:
        async with self.answer_once.database.connection() as connection:
            return credential.partner_id is not None and await is_partner_active(connection, credential.partner_id)

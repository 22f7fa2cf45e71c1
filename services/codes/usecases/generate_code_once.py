"""Mints a code under an Idempotency-Key: a repeat gets the same code and is charged nothing."""

from dataclasses import dataclass
from datetime import datetime

from services.codes.domain.minting import MintOutcome
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
        return answer

"""Periodically decrypts the stored answers: a wrong key is noticed before anyone repeats a request.

Answers sealed in the first form are sealed again on the way; when none is left, that form is closed.
"""

from dataclasses import dataclass, field
from typing import Final

from shared.database.idempotency import check_answers
from shared.database.pool import Database
from shared.database.seal_forms import SealForms
from shared.database.sealing import Seal, SealCheck
from shared.log import get_logger
from shared.metrics import SECRETS_UNREADABLE
from shared.periodic import Periodic

INTERVAL_SECONDS: Final = 60.0


@dataclass(slots=True)
class CheckSecrets:
    """A periodic task, and a detail of `/readyz`: without the key everything but repeats works."""

    database: Database
    seal: Seal
    name: str = "secrets"
    state: str = "ok"
    task: Periodic = field(init=False)

    def __post_init__(self) -> None:
        self.task = Periodic("check_secrets", INTERVAL_SECONDS, self)

    async def __call__(self) -> None:
        """Check everything once."""
        forms = SealForms(self.database, self.seal)
        check = SealCheck(self.seal, renews_first_form=await forms.learn())
        await check_answers(self.database, check)
        if check.renewed:
            get_logger().info("secrets_resealed", count=check.renewed)
        if check.renews_first_form and self.seal.accepts_first_form and not check.waiting:
            await forms.close()
        SECRETS_UNREADABLE.labels("answer").set(check.unreadable)
        before = self.state
        self.state = "ok"
        if check.unreadable:
            of = check.unreadable + check.readable
            self.state = f"{check.unreadable} of {of} kept answers cannot be decrypted"
            if before == "ok":
                get_logger().error("answers_not_decrypted", answers=check.unreadable, of=of)

"""Hands mails to the mail server: at once where somebody waits for the result, or in the background."""

import asyncio
from typing import Final

from services.dashboard.clients.mail import Mail, Mailer, MailFailed

_MOST_WAITING: Final = 1_000


class PostOffice:
    """Sends one mail after the other in the background; what still waits when the process ends is lost."""

    def __init__(self, mailer: Mailer) -> None:
        self._mailer = mailer
        self._waiting: asyncio.Queue[Mail] = asyncio.Queue(_MOST_WAITING)

    @property
    def is_open(self) -> bool:
        """Whether there is a mail server."""
        return self._mailer.is_configured

    async def send(self, to: str, written: tuple[str, str]) -> bool:
        """Send a mail now; return whether the server took it."""
        if not self.is_open:
            return False
        try:
            await self._mailer.send(Mail(to, *written))
        except MailFailed:
            return False
        return True

    def post(self, to: str, written: tuple[str, str]) -> None:
        """Send a mail in the background, so that nobody can tell from the time whether one is sent."""
        if self.is_open and not self._waiting.full():
            self._waiting.put_nowait(Mail(to, *written))

    async def run(self) -> None:
        """Send what is posted until cancelled."""
        while True:
            mail = await self._waiting.get()
            await self.send(mail.to, (mail.subject, mail.text))

"""Sends mails by SMTP, if a server is configured."""

from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from typing import Final, Literal

import aiosmtplib

from shared.log import get_logger

_SECONDS: Final = 10.0


class MailFailed(Exception):
    """The mail could not be handed to the server."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail in plain text."""

    to: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mailer:
    """The mail server; without a host nothing can be sent."""

    host: str
    port: int
    user: str
    password: str
    security: Literal["starttls", "tls", "none"]
    sender: str

    @property
    def is_configured(self) -> bool:
        """Whether mails can be sent at all."""
        return bool(self.host)

    async def send(self, mail: Mail) -> None:
        """Send a mail; raises MailFailed. Neither the address nor the text is logged."""
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = self.sender, mail.to, mail.subject
        message["Date"], message["Message-ID"] = formatdate(), make_msgid(domain=self.sender.rpartition("@")[2])
        # Nobody should answer, and no vacation notice either.
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(mail.text)
        try:
            await aiosmtplib.send(
                message,
                hostname=self.host,
                port=self.port,
                username=self.user or None,
                password=self.password or None,
                use_tls=self.security == "tls",
                start_tls=self.security == "starttls",
                timeout=_SECONDS,
            )
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            get_logger().warning("mail_failed", kind=type(error).__name__)
            raise MailFailed from error
        get_logger().info("mail_sent")

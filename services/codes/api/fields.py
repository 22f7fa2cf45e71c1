"""Field types that several requests share; the rules themselves are in the domain."""

from typing import Annotated
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, StringConstraints

from services.codes.domain.partners import checked_email, checked_prefix
from services.codes.domain.programs import (
    checked_alphabet,
    checked_currency,
    checked_link_url,
    checked_webhook_attributes,
)
from shared.web import Int, LongText, Text

# Read once, at import: a look into the time zone files would block the loop.
_TIMEZONES = available_timezones()


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return text


def _timezone(name: str) -> str:
    if name not in _TIMEZONES:
        raise ValueError("must be a name of the IANA time zone database, such as Europe/Berlin")
    return name


def _attributes(names: list[str]) -> list[str]:
    return list(checked_webhook_attributes(names))


Name = Annotated[Text, AfterValidator(_not_blank)]
ShortName = Annotated[Text, StringConstraints(max_length=100), AfterValidator(_not_blank)]
Email = Annotated[Text, AfterValidator(checked_email)]
Prefix = Annotated[Text, AfterValidator(checked_prefix)]
Currency = Annotated[Text, AfterValidator(checked_currency)]
Timezone = Annotated[Text, AfterValidator(_timezone)]
LinkURL = Annotated[LongText, StringConstraints(max_length=2000), AfterValidator(checked_link_url)]
Alphabet = Annotated[Text, AfterValidator(checked_alphabet)]
CodeLength = Annotated[Int, Field(ge=4, le=64)]
LifetimeSeconds = Annotated[Int, Field(ge=60, le=315_360_000)]
WebhookAttributes = Annotated[list[Text], AfterValidator(_attributes)]
RateLimit = Annotated[Int, Field(ge=1, le=1_000_000)]

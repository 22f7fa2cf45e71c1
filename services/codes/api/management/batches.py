"""`/v1/coupons/{coupon}/promotion-codes/batch`: many codes of one coupon in one call."""

from typing import Annotated, Final

from aiohttp import web
from pydantic import AfterValidator, Field, model_validator

from services.codes.api.context import actor, given, naming, once, partner_in, use_cases
from services.codes.api.fields import (
    OF_COUPON,
    Alphabet,
    Amount,
    Count,
    Currency,
    Hundredths,
    Metadata,
)
from services.codes.api.management.jobs import JobData, job_data, job_url
from services.codes.api.management.words import BATCH_WORDS
from services.codes.domain.batches import MAX_COUNT, MAX_INLINE, BatchDraft
from services.codes.domain.code_patterns import (
    DEFAULT_ALPHABET,
    DEFAULT_PATTERN,
    MAX_PATTERN_LENGTH,
    MAX_RANDOM,
    PATTERN_SYMBOLS,
    CodePattern,
    checked_affix,
    checked_pattern,
)
from services.codes.domain.code_terms import CodeTerms
from services.codes.domain.coupons import CouponRef
from services.codes.usecases.batches import Batch
from shared.idempotency import Once
from shared.web import (
    Data,
    InstantOrDate,
    Int,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    Spelled,
    Text,
    data_response,
    field_error,
    respond,
)

Pattern = Annotated[
    str,
    Field(max_length=MAX_PATTERN_LENGTH, pattern="^[0-9A-Za-z_-]*#[0-9A-Za-z_#-]*$"),
    Spelled(f"must consist of the {PATTERN_SYMBOLS} and at least one #, which stands for a random symbol"),
    AfterValidator(checked_pattern),
]
Affix = Annotated[
    str,
    Field(max_length=64, pattern="^[0-9A-Za-z_-]*$"),
    Spelled(f"must consist of the {PATTERN_SYMBOLS}"),
    AfterValidator(checked_affix),
]


class BatchCreation(RequestModel):
    """The codes to create: how many, their pattern, and their common terms."""

    count: Annotated[Int, Field(ge=1, le=MAX_COUNT)]
    pattern: Pattern = Field(
        default_factory=lambda: DEFAULT_PATTERN,
        description="Each `#` is a random symbol; all else is literal: letters A to Z, digits, dashes and `_`, which "
        "every keyboard has. The alternative is `length`, `prefix` and `suffix`. Codes with other letters, blanks or "
        "marks are created one by one or imported.",
    )
    length: Annotated[Int, Field(ge=1, le=MAX_RANDOM)] = Field(12, description="The number of random symbols.")
    prefix: Affix = ""
    suffix: Affix = ""
    alphabet: Alphabet = Field(DEFAULT_ALPHABET, description="The symbols to choose from; no two may look alike.")
    check_symbol: bool = Field(False, description="Append a check symbol, so that typing errors can be found offline.")
    partner_id: Text | None = Field(None, description="The partner that the codes belong to.")
    partner_only: bool = Field(False, description="Only the partner itself may use them.")
    active: bool = True
    starts_at: InstantOrDate | None = None
    expires_at: InstantOrDate | None = None
    redemption_limit: Count | None = Field(None, description="Uses per code; the coupon's own limit if absent.")
    first_time_order: bool = False
    minimum_order_value: Amount | None = None
    minimum_order_currency: Currency | None = Field(None, description=OF_COUPON)
    commission_percent: Hundredths | None = Field(None, description="The partner's share; the coupon's if absent.")
    metadata: Metadata = Field(default_factory=dict)
    allow_weak: bool = Field(False, description="Create the codes even if they could be guessed.")

    @model_validator(mode="after")
    def _hangs_together(self) -> "BatchCreation":
        if "pattern" in self.model_fields_set and self.model_fields_set & {"length", "prefix", "suffix"}:
            raise field_error("pattern", "must not be given together with length, prefix or suffix")
        if self.partner_only and self.partner_id is None:
            raise field_error("partner_id", "is needed when partner_only is true")
        if self.length + len(self.prefix) + len(self.suffix) > MAX_PATTERN_LENGTH:
            raise field_error("length", f"must with prefix and suffix not be greater than {MAX_PATTERN_LENGTH}")
        return self


class BatchData(ResponseModel):
    """A batch: its job, and the codes if they were created at once."""

    job: JobData
    codes: list[str] | None


def _pattern(body: BatchCreation) -> CodePattern:
    pattern = body.pattern
    if body.model_fields_set & {"length", "prefix", "suffix"}:
        pattern = body.prefix + "#" * body.length + body.suffix
    return CodePattern(pattern, body.alphabet, body.check_symbol)


def _draft(request: Request, body: BatchCreation) -> BatchDraft:
    switches = {"has_expiry": body.expires_at is not None, "has_redemption_limit": body.redemption_limit is not None}
    switches |= {"has_minimum": body.minimum_order_value is not None, "has_partner": bool(body.partner_id)}
    partner_id = partner_in(request, body.partner_id) if body.partner_id else None
    terms = given(CodeTerms, body, BATCH_WORDS, **switches, partner_id=partner_id)
    return BatchDraft(body.count, _pattern(body), terms, body.allow_weak)


async def create(request: Request) -> web.StreamResponse:
    """Create a batch."""
    body, coupon = request.body(BatchCreation), CouponRef(request.path("coupon"))
    made: Once[Batch] = once(request, lambda batch: _answer(request, batch))
    with naming(BATCH_WORDS):
        answer = await use_cases(request).create_batch(
            actor(request), request.program_id, coupon, _draft(request, body), made
        )
    return respond(request, answer)


def _answer(request: Request, batch: Batch) -> web.Response:
    codes = None if batch.codes is None else list(batch.codes)
    headers = {"Location": job_url(batch.job)}
    return data_response(BatchData(job=job_data(batch.job), codes=codes), 202 if codes is None else 201, headers)


ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/coupons/{coupon}/promotion-codes/batch",
        handler=create,
        summary="Create many codes of a coupon",
        description=(
            f"Up to {MAX_INLINE:,} codes are created at once (201), more by a job (202), found at `Location`. "
            "Before that, it is checked that the pattern has room for them and that they cannot be guessed."
        ),
        tag="batches",
        security="bearer",
        scope="manage",
        family="management",
        body=BatchCreation,
        idempotent=True,
        path_descriptions={"coupon": "The coupon's id or its `uuid_code`."},
        responses={
            201: Data[BatchData],
            202: Data[BatchData],
            404: "No such coupon",
            409: "The coupon is archived (`coupon_archived`)",
            422: "The pattern has no room for this many codes (`code_space_too_small`), or they could be guessed "
            "(`guessable`)",
            429: "The program has the maximum number of unfinished jobs",
        },
        examples={"request": {"count": 100_000, "pattern": "SPRING-####-####-####", "redemption_limit": 1}},
    ),
)

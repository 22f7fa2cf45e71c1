"""`/v1/coupons/{coupon_id}/promotion-codes/batch`: many codes of one coupon in one call."""

import uuid
from typing import Annotated, Any, Final

from aiohttp import web
from pydantic import AfterValidator, Field, model_validator

from services.codes.api.exchange import actor, once, use_cases
from services.codes.api.fields import Alphabet
from services.codes.api.jobs import JobData, job_data, job_url
from services.codes.domain.batches import MAX_COUNT, MAX_INLINE, BatchDraft, CodeTerms
from services.codes.domain.code_patterns import (
    DEFAULT_ALPHABET,
    DEFAULT_PATTERN,
    MAX_RANDOM,
    CodePattern,
    checked_affix,
    checked_pattern,
)
from services.codes.domain.errors import NoSuchPartner
from services.codes.usecases.create_batch import Batch
from shared.idempotency import Once
from shared.web import (
    Data,
    Instant,
    Int,
    Number,
    Request,
    RequestModel,
    ResponseModel,
    Route,
    Text,
    data_response,
    field_error,
    respond,
)

MAX_METADATA: Final = 50


def _metadata(value: dict[str, Any]) -> dict[str, Any]:
    if len(value) > MAX_METADATA:
        raise ValueError(f"must not have more than {MAX_METADATA} members")
    return value


Pattern = Annotated[Text, AfterValidator(checked_pattern)]
Affix = Annotated[Text, AfterValidator(checked_affix)]
Metadata = Annotated[dict[str, Any], AfterValidator(_metadata)]
Commission = Annotated[Number, Field(ge=0, le=100, decimal_places=2)]


class BatchCreation(RequestModel):
    """Codes to be made: how many, how they look, and what they have in common."""

    count: Annotated[Int, Field(ge=1, le=MAX_COUNT)]
    pattern: Pattern = Field(
        default_factory=lambda: DEFAULT_PATTERN,
        description="Each `#` is a random symbol, all else stands for itself. Instead of it: `length`, `prefix`, "
        "`suffix`.",
    )
    length: Annotated[Int, Field(ge=1, le=MAX_RANDOM)] = Field(12, description="How many symbols are random.")
    prefix: Affix = ""
    suffix: Affix = ""
    alphabet: Alphabet = Field(DEFAULT_ALPHABET, description="The symbols to choose from; no two may look alike.")
    check_symbol: bool = Field(False, description="Add a last symbol by which typing errors are found offline.")
    partner_id: Text | None = Field(None, description="The partner that the codes belong to.")
    limited_to_partner: bool = Field(False, description="Only the partner itself may use them.")
    active: bool = True
    starts_at: Instant | None = None
    expires_at: Instant | None = None
    redemption_limit: Annotated[Int, Field(ge=1, le=2**31 - 1)] | None = Field(
        None, description="Uses per code; the coupon's own limit if absent."
    )
    first_order_only: bool = False
    commission: Commission | None = Field(None, description="Percent of the order; the coupon's own if absent.")
    metadata: Metadata = Field(default_factory=dict)
    allow_weak: bool = Field(False, description="Make the codes even if they could be found by trying.")

    @model_validator(mode="after")
    def _hangs_together(self) -> "BatchCreation":
        if "pattern" in self.model_fields_set and self.model_fields_set & {"length", "prefix", "suffix"}:
            raise field_error("pattern", "must not be given together with length, prefix or suffix")
        if self.limited_to_partner and self.partner_id is None:
            raise field_error("partner_id", "is needed when limited_to_partner is true")
        if self.starts_at is not None and self.expires_at is not None and self.expires_at <= self.starts_at:
            raise field_error("expires_at", "must be later than starts_at")
        return self


class BatchData(ResponseModel):
    """A batch: its job, and the codes if they were made at once."""

    job: JobData
    codes: list[str] | None


def _pattern(body: BatchCreation) -> CodePattern:
    pattern = body.pattern
    if body.model_fields_set & {"length", "prefix", "suffix"}:
        pattern = body.prefix + "#" * body.length + body.suffix
    return CodePattern(pattern, body.alphabet, body.check_symbol)


def _partner_id(text: str | None) -> uuid.UUID | None:
    try:
        return None if text is None else uuid.UUID(text)
    except ValueError:
        raise NoSuchPartner from None


def _draft(body: BatchCreation) -> BatchDraft:
    terms = CodeTerms(
        partner_id=_partner_id(body.partner_id),
        is_active=body.active,
        starts_at=body.starts_at,
        expires_at=body.expires_at,
        redemption_limit=body.redemption_limit,
        is_first_order_only=body.first_order_only,
        is_limited_to_partner=body.limited_to_partner,
        commission_hundredths=None if body.commission is None else int(body.commission * 100),
        metadata=body.metadata,
    )
    return BatchDraft(body.count, _pattern(body), terms, body.allow_weak)


async def create(request: Request) -> web.StreamResponse:
    """Create a batch."""
    body = request.body(BatchCreation)
    credential = request.credential
    made: Once[Batch] = once(request, lambda batch: _answer(request, batch))
    answer = await use_cases(request).create_batch(
        actor(request), credential.program_id, credential.key_id, request.path("coupon_id"), _draft(body), made
    )
    return respond(request, answer)


def _answer(request: Request, batch: Batch) -> web.Response:
    codes = None if batch.codes is None else list(batch.codes)
    headers = {"Location": job_url(batch.job)}
    return data_response(BatchData(job=job_data(batch.job), codes=codes), 202 if codes is None else 201, headers)


ROUTES: Final = (
    Route(
        method="POST",
        path="/v1/coupons/{coupon_id}/promotion-codes/batch",
        handler=create,
        summary="Create many codes of a coupon",
        description=(
            f"Up to {MAX_INLINE:,} codes are made at once (201); more by a job (202) that `Location` leads to. "
            "Before any is made it is checked that the pattern has room for them and that they cannot be guessed."
        ),
        tag="batches",
        security="bearer",
        scope="manage",
        family="management",
        body=BatchCreation,
        idempotent=True,
        path_descriptions={"coupon_id": "The coupon's id or its `uuid_code`."},
        responses={
            201: Data[BatchData],
            202: Data[BatchData],
            404: "No such coupon",
            409: "The coupon is archived",
        },
        examples={"request": {"count": 100_000, "pattern": "SPRING-####-####-####", "redemption_limit": 1}},
    ),
)

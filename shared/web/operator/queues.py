"""`/v1/operator/{service}/queues` and `…/dead-letters`: the service's own queues, and its dead letters."""

import base64
from typing import Annotated, Any, Final, Self

from aiohttp import web
from pydantic import Field, model_validator

from shared.events.operating import DeadLetter, LetterChoice
from shared.web.models import Data, Int, Moment, RequestModel, ResponseModel, Text, field_error
from shared.web.operator.context import COMMON, OPERATING, OperatesQueues, act_of
from shared.web.paging import Page, PageQuery
from shared.web.problems import not_found, nothing_at
from shared.web.request import Request
from shared.web.responses import data_response, page_response
from shared.web.routes import Routes

MOST_AT_ONCE: Final = 1_000
_LONGEST_KEY: Final = 255
_Key = Annotated[str, Field(min_length=1, max_length=_LONGEST_KEY)]


class QueueData(ResponseModel):
    """A queue of the service."""

    name: str
    messages: int | None = Field(
        description="Messages that no consumer has in hand; null if the queue is missing or access to it is denied."
    )
    consumers: int | None


class QueuesData(ResponseModel):
    """The queues of the service."""

    queues: list[QueueData]


class DeadLettersData(ResponseModel):
    """The dead letters that the service keeps in its database."""

    kept: int = Field(description="Dead letters stored because the dead queue is full; counted up to 10,000.")


class LetterQuery(PageQuery):
    """The dead letters to list."""

    reason: Text | None = Field(None, description="Only letters with this reason.")


class LetterData(ResponseModel):
    """A dead letter, without its content."""

    key: str = Field(description="The message id, or a digest of the body where the sender gave none.")
    reason: str
    detail: str
    routing_key: str
    first_received_at: Moment | None
    died_at: Moment | None
    bytes: int = Field(description="The size of the body.")


class WholeLetterData(LetterData):
    """A dead letter with its content, byte for byte as received."""

    headers: dict[str, str]
    body_base64: str


class LetterRequest(RequestModel):
    """One dead letter, and the reason to see its content."""

    key: _Key
    justification: Annotated[Text, Field(min_length=3)] = Field(
        description="The reason, for the operators' log: the content may be about customers."
    )


class ChoiceRequest(RequestModel):
    """A selection of dead letters."""

    keys: Annotated[list[_Key], Field(min_length=1, max_length=250)] | None = None
    reason: Text | None = Field(None, description="Only letters with this reason; all of them without `keys`.")
    all: bool = Field(False, description="All letters; required without `keys` and `reason`.")
    limit: Annotated[Int, Field(ge=1, le=MOST_AT_ONCE)] = Field(
        MOST_AT_ONCE, description="Maximum number of letters. Repeat the request while `is_whole` is false."
    )
    justification: Annotated[Text, Field(min_length=3)] | None = Field(
        None, description="The reason, for the operators' log."
    )

    @model_validator(mode="after")
    def _says_which(self) -> Self:
        if self.keys is not None and self.all:
            raise field_error("all", "cannot be given together with keys")
        if self.keys is None and self.reason is None and not self.all:
            raise field_error("all", "must be true if neither keys nor a reason is given")
        return self

    @property
    def choice(self) -> LetterChoice:
        """The choice that it states."""
        return LetterChoice(keys=None if self.keys is None else frozenset(self.keys), reason=self.reason)


class ReplayRequest(ChoiceRequest):
    """The dead letters to put back into their queue."""

    force: bool = Field(
        False,
        description="Include letters that are older than the service remembers: it may repeat what it has done, or do "
        "what was cancelled.",
    )


class ReplayedData(ResponseModel):
    """The result of a replay."""

    queue: str
    replayed: int
    unconfirmed: int = Field(description="Letters that the broker did not confirm; they stay, and may be in both.")
    too_old: int = Field(description="Letters that the service has forgotten; they stay, unless `force` is given.")
    known_since: Moment | None = Field(description="What first came before this is too old; null with `force`.")
    is_whole: bool = Field(description="False if there may be more: a bound was reached.")


class PurgedData(ResponseModel):
    """The result of a purge."""

    queue: str
    purged: int
    is_whole: bool = Field(description="False if there may be more: a bound was reached.")


ROUTES: Final = Routes(
    "",
    "No such queue, or it belongs to another service",
    path_descriptions={"queue": "The queue that the service consumes, such as `redemption.checkout`."},
    **COMMON,
)


@ROUTES.get("/queues", Data[QueuesData])
async def list_queues(request: Request) -> web.StreamResponse:
    """Count the messages and consumers of the service's queue and its dead queue."""
    found = await request.dependency(OPERATING).queues.depths()
    return data_response(QueuesData(queues=[QueueData.of(each) for each in found]))


@ROUTES.get("/dead-letters", Data[DeadLettersData])
async def show_dead_letters(request: Request) -> web.StreamResponse:
    """Count the dead letters that are stored because their queue is full.

    They return to their dead queue as it empties, oldest first.
    """
    return data_response(DeadLettersData(kept=await request.dependency(OPERATING).overflow.count()))


@ROUTES.get("/dead-letters/{queue}", Page[LetterData], query=LetterQuery)
async def list_letters(request: Request) -> web.StreamResponse:
    """List the dead letters of a queue without their content, oldest first.

    Listing changes nothing: the letters stay in order, and reading them counts towards no limit. Their order may change
    only if two processes read at once. A page covers the first 10,000 letters at most, and a filtered page may be short
    or empty before the end.
    """
    queues, query = _queues(request), request.query(LetterQuery)
    last = query.position(int)
    skip = 0 if last is None else max(0, last[0])
    page = await queues.page(LetterChoice(reason=query.reason), skip, query.limit)
    cursor = None if page.next_skip is None else query.cursor_after(page.next_skip)
    letters = [LetterData(**_summary(each)) for each in page.letters]
    return page_response(letters, cursor)


@ROUTES.post(
    "/dead-letters/{queue}/show",
    Data[WholeLetterData],
    body=LetterRequest,
    examples={"request": {"key": "order-4711", "justification": "The shop asks why order 4711 was not redeemed."}},
)
async def show_letter(request: Request) -> web.StreamResponse:
    """Show a dead letter with its content, without removing it.

    The operators' log records who saw it and why. Accounts need the grade `change`, since the content may be about
    customers. Searches the first 10,000 letters.
    """
    queues, body = _queues(request), request.body(LetterRequest)
    found = await queues.show(body.key, act_of(request, body.justification))
    if found is None:
        raise nothing_at({"queue": queues.queue, "dead_letter": body.key})
    body_base64 = base64.b64encode(found.body).decode()
    return data_response(WholeLetterData(**_summary(found), headers=dict(found.headers), body_base64=body_base64))


@ROUTES.post(
    "/dead-letters/{queue}/replay",
    Data[ReplayedData],
    body=ReplayRequest,
    examples={"request": {"reason": "unknown_type", "justification": "This release knows the type."}},
)
async def replay(request: Request) -> web.StreamResponse:
    """Put dead letters back into their queue, once the cause is fixed.

    Each keeps the time of its first receipt. A letter is removed once the broker has confirmed its copy. If the process
    dies in between, the letter is in both, and the service recognises the second one by its id: a repeat is
    safe.
    """
    queues, body = _queues(request), request.body(ReplayRequest)
    act = act_of(request, body.justification)
    done = await queues.replay(body.choice, body.limit, act, is_forced=body.force)
    return data_response(ReplayedData.of(done, queue=queues.queue))


@ROUTES.post(
    "/dead-letters/{queue}/purge",
    Data[PurgedData],
    body=ChoiceRequest,
    examples={"request": {"keys": ["order-4711"], "justification": "A test order of the shop."}},
)
async def purge(request: Request) -> web.StreamResponse:
    """Remove dead letters for good."""
    queues, body = _queues(request), request.body(ChoiceRequest)
    done = await queues.purge(body.choice, body.limit, act_of(request, body.justification))
    return data_response(PurgedData.of(done, queue=queues.queue))


def _queues(request: Request) -> OperatesQueues:
    """Return the queues of the service, if the path names one with a dead queue; raises the 404 for any other."""
    queues = request.dependency(OPERATING).queues
    if request.path("queue") != queues.queue:
        raise not_found()
    return queues


def _summary(letter: DeadLetter) -> dict[str, Any]:
    members = ("key", "reason", "detail", "routing_key", "first_received_at", "died_at")
    return {**{name: getattr(letter, name) for name in members}, "bytes": letter.size}

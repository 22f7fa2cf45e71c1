"""`/v1/operator/dashboard/accounts`: the accounts of people, for the operator's token and so for the command."""

import uuid
from datetime import datetime
from typing import Annotated, Final

from aiohttp import web
from pydantic import Field, model_validator

from services.dashboard.api.site import USE_CASES
from services.dashboard.domain.accounts import Membership, Owner
from services.dashboard.usecases.manage_accounts import ListedAccount
from services.dashboard.usecases.visits import OPERATOR, Visit
from shared.accounts import Grade, Role
from shared.known_ids import LAST_ID
from shared.times import LATEST
from shared.web import (
    Data,
    Moment,
    Page,
    PageQuery,
    Request,
    RequestModel,
    ResponseModel,
    Routes,
    Spelled,
    Text,
    data_response,
    field_error,
    page_response,
)

Name = Annotated[Text, Field(min_length=1, max_length=200, description="As others of the team see it.")]
Email = Annotated[
    Text,
    Field(max_length=254, pattern=r"^[^@\s]{1,64}@[^@\s]{1,189}$", description="The address to sign in with."),
    Spelled("must be an e-mail address"),
]
_NEEDS: Final[dict[Role, tuple[bool, bool]]] = {
    "partner": (True, True),
    "merchant": (True, False),
    "operator": (False, False),
}
ACCOUNTS: Final = Routes(
    "/v1/operator/dashboard/accounts",
    "No such account",
    tag="Accounts",
    security="operator",
    family="management",
)


class Membering(RequestModel):
    """Whom an account acts for: a partner of a program, a program, or with neither id everybody."""

    role: Role
    grade: Grade = Field("look", description="`change` may change and start things, `look` may not.")
    program_id: uuid.UUID | None = None
    partner_id: uuid.UUID | None = None

    @model_validator(mode="after")
    def _names_its_owner(self) -> "Membering":
        for name, is_needed, given in zip(
            ("program_id", "partner_id"), _NEEDS[self.role], (self.program_id, self.partner_id), strict=True
        ):
            if is_needed != (given is not None):
                rule = "is required for" if is_needed else "must be absent for"
                raise field_error(name, f"{rule} a {self.role}'s account")
        return self

    @property
    def owner(self) -> Owner:
        """The owner, without labels."""
        return Owner(self.role, self.program_id, self.partner_id)


class AccountCreation(Membering):
    """A new account with a password that the operator chose."""

    email: Email
    name: Name
    password: Annotated[Text, Field(min_length=12, max_length=128)]


class MembershipData(ResponseModel):
    """What an account may act for."""

    id: uuid.UUID
    role: Role
    grade: Grade
    program_id: uuid.UUID | None
    partner_id: uuid.UUID | None
    program_name: str
    partner_name: str


class AccountData(ResponseModel):
    """A person's account."""

    id: uuid.UUID
    email: str
    name: str
    created_at: Moment
    last_seen_at: Moment | None
    disabled_at: Moment | None
    memberships: list[MembershipData]


class CreatedAccount(ResponseModel):
    """The id of a new account."""

    id: uuid.UUID


class AccountQuery(PageQuery):
    """The query parameters of the list."""

    email: str | None = Field(None, max_length=254, description="Only the account of this address, in any case.")


class InvitationCreation(Membering):
    """Whom to invite."""

    email: Email


class MadeLinkData(ResponseModel):
    """A link that works once. It is shown in this response only."""

    url: str
    expires_at: Moment
    is_mailed: bool = Field(description="Whether it was also sent by e-mail, for which SMTP has to be configured.")


class AccountState(ResponseModel):
    """Whether an account may sign in."""

    id: uuid.UUID
    is_disabled: bool


@ACCOUNTS.get("", Page[AccountData], query=AccountQuery)
async def list_accounts(request: Request) -> web.Response:
    """List accounts, newest first."""
    query, accounts = request.query(AccountQuery), request.dependency(USE_CASES).accounts
    if query.email is not None:
        one = await accounts.find_by_email(query.email)
        return page_response([_account_data(one)] if one else [], None)
    before = query.position(datetime, uuid.UUID) or (LATEST, LAST_ID)
    found = await accounts.list(before, query.limit + 1)
    shown = found[: query.limit]
    last = shown[-1].account if len(found) > query.limit else None
    cursor = None if last is None else query.cursor_after(last.created_at, last.id)
    return page_response([_account_data(each) for each in shown], cursor)


@ACCOUNTS.post("", Data[CreatedAccount], status=201, body=AccountCreation)
async def create_account(request: Request) -> web.Response:
    """Create an account with a password.

    Invite people instead where they can choose their own.
    """
    body = request.body(AccountCreation)
    account_id = await request.dependency(USE_CASES).accounts.create(
        OPERATOR,
        visit_of(request),
        email=body.email,
        name=body.name,
        password=body.password,
        grade=body.grade,
        owner=body.owner,
    )
    return data_response(CreatedAccount(id=account_id), 201)


@ACCOUNTS.post("/invitations", Data[MadeLinkData], status=201, body=InvitationCreation)
async def invite(request: Request) -> web.Response:
    """Invite a person by a link that works once, within 72 hours.

    An earlier invitation of the same address to the same owner ends.
    """
    body, cases = request.body(InvitationCreation), request.dependency(USE_CASES)
    owner = await cases.accounts.find_owner(body.owner, request.request_id)
    made = await cases.invitations.invite(body.email, body.grade, owner, OPERATOR, visit_of(request))
    return data_response(MadeLinkData.of(made), 201)


@ACCOUNTS.post("/{account_id}/resets", Data[MadeLinkData], status=201)
async def make_reset(request: Request) -> web.Response:
    """Make a link with which the person sets a new password, within 30 minutes.

    It is not mailed: hand it over yourself.
    """
    account_id, resets = request.path_id("account_id"), request.dependency(USE_CASES).resets
    made = await resets.make(account_id, OPERATOR, visit_of(request), is_mailed=False)
    return data_response(MadeLinkData.of(made), 201)


@ACCOUNTS.post("/{account_id}/disable", Data[AccountState])
async def disable(request: Request) -> web.Response:
    """Switch an account off; its sessions end at once."""
    account_id = request.path_id("account_id")
    await request.dependency(USE_CASES).accounts.disable(account_id, OPERATOR, visit_of(request))
    return data_response(AccountState(id=account_id, is_disabled=True))


@ACCOUNTS.post("/{account_id}/enable", Data[AccountState])
async def enable(request: Request) -> web.Response:
    """Switch an account on again."""
    account_id = request.path_id("account_id")
    await request.dependency(USE_CASES).accounts.enable(account_id, OPERATOR, visit_of(request))
    return data_response(AccountState(id=account_id, is_disabled=False))


def _account_data(listed: ListedAccount) -> AccountData:
    return AccountData.of(listed.account, memberships=[_membership_data(each) for each in listed.memberships])


def _membership_data(membership: Membership) -> MembershipData:
    owner = membership.owner
    labels = {"program_name": owner.program_name, "partner_name": owner.partner_name}
    ids = {"program_id": owner.program_id, "partner_id": owner.partner_id}
    return MembershipData.of(membership, role=owner.role, **ids, **labels)


def visit_of(request: Request) -> Visit:
    """Return where a call of the operator comes from."""
    return Visit(request.request_id, request.http.remote or "", request.http.headers.get("User-Agent", "")[:512])

"""Finds what codes calls a program or a partner, for the labels of a membership."""

import uuid
from dataclasses import dataclass, replace
from http import HTTPStatus

from services.dashboard.clients.errors import NotThere, Refused
from services.dashboard.clients.service import ServiceClient
from services.dashboard.domain.accounts import Owner
from services.dashboard.domain.errors import OwnerUnknown
from shared.account_tokens import Acting


@dataclass(frozen=True, slots=True)
class FindOwner:
    """Asks as a merchant's account that may look; no account of ours has its id."""

    codes: ServiceClient

    async def __call__(self, owner: Owner, request_id: str) -> Owner:
        """Return the owner with its labels; raises OwnerUnknown and ServiceDown."""
        if owner.program_id is None:
            return owner
        acting = Acting(uuid.uuid4(), "merchant", "look", request_id, owner.program_id)
        try:
            program = (await self.codes.call(acting, "GET", f"/v1/programs/{owner.program_id}")).data
            found = replace(
                owner,
                program_name=program["name"],
                zone=program["timezone"],
                contact=program["support_email"] or "",
            )
            if owner.partner_id is None:
                return found
            partner = (await self.codes.call(acting, "GET", f"/v1/partners/{owner.partner_id}")).data
        except NotThere:
            raise OwnerUnknown from None
        except Refused as refused:
            # A token for a program that does not exist is refused like any bad token.
            if refused.status == HTTPStatus.UNAUTHORIZED:
                raise OwnerUnknown from None
            raise
        return replace(found, partner_name=partner["name"], contact=partner["support_email"] or found.contact)

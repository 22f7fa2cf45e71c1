"""The people of one owner: who they are, whether they may change anything, and removing them."""

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID

from services.dashboard.domain.accounts import Account, Membership, Owner
from services.dashboard.domain.errors import LastMember, NothingThere
from services.dashboard.store import accounts, sessions
from services.dashboard.usecases.visits import Actor, Visit, note
from shared.accounts import Grade
from shared.clock import Clock
from shared.database.pool import Database


@dataclass(frozen=True, slots=True)
class Member:
    """A person of the team."""

    membership: Membership
    account: Account


@dataclass(frozen=True, slots=True)
class ManageTeams:
    """Every change is made under the locks of the team's memberships: the last that may change stays."""

    database: Database
    clock: Clock

    async def list(self, owner: Owner) -> list[Member]:
        """Return the people of an owner's team, the first first."""
        async with self.database.connection() as connection:
            members = await accounts.members_of(connection, owner)
            found = await accounts.read_accounts(connection, [member.account_id for member in members])
        return [Member(member, found[member.account_id]) for member in members]

    async def find(self, owner: Owner, membership_id: UUID) -> Member:
        """Return one person of the team; raises NothingThere."""
        found = next((each for each in await self.list(owner) if each.membership.id == membership_id), None)
        if found is None:
            raise NothingThere
        return found

    async def set_grade(self, owner: Owner, membership_id: UUID, grade: Grade, actor: Actor, visit: Visit) -> None:
        """Let a person change things, or only look; raises NothingThere and LastMember."""
        member, now = await self.find(owner, membership_id), self.clock()
        async with self.database.transaction() as connection:
            grades = await accounts.lock_members(connection, owner)
            _refuse_last(grades, membership_id, keeps=grade == "change")
            await accounts.set_grade(connection, membership_id, grade)
            # No session outlives a change of its rights.
            await sessions.end_sessions_for(connection, membership_id, now)
            await note(connection, now, visit, actor, f"grade_{grade}", member.account.email)

    async def remove(self, owner: Owner, membership_id: UUID, actor: Actor, visit: Visit) -> None:
        """End a membership and the sessions that act by it; raises NothingThere and LastMember."""
        member, now = await self.find(owner, membership_id), self.clock()
        async with self.database.transaction() as connection:
            grades = await accounts.lock_members(connection, owner)
            _refuse_last(grades, membership_id, keeps=False)
            await sessions.end_sessions_for(connection, membership_id, now)
            await accounts.delete_membership(connection, membership_id)
            await note(connection, now, visit, actor, "remove_member", member.account.email)


def _refuse_last(grades: Mapping[UUID, Grade], membership_id: UUID, *, keeps: bool) -> None:
    others = [grade for each, grade in grades.items() if each != membership_id]
    if not keeps and grades.get(membership_id) == "change" and "change" not in others:
        raise LastMember

"""Finds the owner of keys: a program or a partner that the actor reaches."""

from services.codes.domain.access import Actor
from services.codes.domain.errors import Missing
from services.codes.domain.keys import KeyOwner, OwnerRef
from services.codes.domain.partners import Partner
from services.codes.domain.programs import Program
from services.codes.store import partners, programs
from shared.database.pool import Connection


async def find_owner(connection: Connection, actor: Actor, ref: OwnerRef) -> KeyOwner:
    """Return the owner; raises Missing."""
    if ref.partner_id is not None:
        return _of_partner(await partners.find_partner(connection, ref.partner_id, actor.program_id))
    if ref.program_id is None or not actor.reaches(ref.program_id):
        raise Missing
    return _of_program(await programs.find_program(connection, ref.program_id))


async def lock_owner(connection: Connection, actor: Actor, ref: OwnerRef) -> KeyOwner:
    """Return the owner as `find_owner` does, and keep others from adding keys to it until the transaction ends."""
    if ref.partner_id is not None:
        return _of_partner(await partners.lock_partner(connection, ref.partner_id, actor.program_id))
    if ref.program_id is None or not actor.reaches(ref.program_id):
        raise Missing
    return _of_program(await programs.lock_program(connection, ref.program_id))


def _of_partner(partner: Partner | None) -> KeyOwner:
    if partner is None:
        raise Missing
    return KeyOwner(partner.program_id, partner.id)


def _of_program(program: Program | None) -> KeyOwner:
    if program is None:
        raise Missing
    return KeyOwner(program.id, None)

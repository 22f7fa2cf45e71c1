"""Finds the owner of keys: a program or a partner, in one mode, that the actor reaches.

Keys of test mode are managed by the program's live keys too; a test key reaches none of live mode.
"""

import uuid

from services.codes.domain.access import Actor
from services.codes.domain.errors import Missing
from services.codes.domain.keys import KeyOwner, OwnerRef
from services.codes.domain.partners import Partner
from services.codes.domain.programs import Program
from services.codes.store import keys, partners, programs
from shared.database.pool import Connection
from shared.modes import in_mode, is_test


async def find_owner(connection: Connection, actor: Actor, ref: OwnerRef) -> KeyOwner:
    """Return the owner; raises Missing."""
    confined_to = _confined_to(actor, ref)
    if ref.partner_id is not None:
        return _of_partner(await partners.find_partner(connection, ref.partner_id, confined_to))
    if ref.program_id is None or confined_to not in (None, ref.program_id):
        raise Missing
    return _of_program(await programs.find_program(connection, ref.program_id))


async def lock_owner(connection: Connection, actor: Actor, ref: OwnerRef) -> KeyOwner:
    """Return the owner as `find_owner` does, and keep others from adding keys to it until the transaction ends."""
    confined_to = _confined_to(actor, ref)
    if ref.partner_id is not None:
        return _of_partner(await partners.lock_partner(connection, ref.partner_id, confined_to))
    if ref.program_id is None or confined_to not in (None, ref.program_id):
        raise Missing
    return _of_program(await programs.lock_program(connection, ref.program_id))


async def owner_of_key(connection: Connection, ref: OwnerRef, key_id: uuid.UUID) -> OwnerRef:
    """Return the owner that a request names in the mode of one of its keys, which the request does not say."""
    program_id = await keys.program_of(connection, key_id)
    return ref if program_id is None else ref.in_mode(test=is_test(program_id))


def audited_in(actor: Actor, owner: KeyOwner) -> uuid.UUID:
    """Return in whose audit log a change of a key stands: that of the mode of who made it."""
    return in_mode(owner.program_id, test=actor.is_test)


def _confined_to(actor: Actor, ref: OwnerRef) -> uuid.UUID | None:
    if actor.program_id is None:
        return None
    return in_mode(actor.program_id, test=actor.is_test or ref.is_test)


def _of_partner(partner: Partner | None) -> KeyOwner:
    if partner is None:
        raise Missing
    return KeyOwner(partner.program_id, partner.id)


def _of_program(program: Program | None) -> KeyOwner:
    if program is None:
        raise Missing
    return KeyOwner(program.id, None)

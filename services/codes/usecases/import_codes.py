"""Imports the codes of an uploaded file, chunk by chunk; a refused line is only reported."""

import asyncio
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from services.codes.domain.code_columns import COLUMN_NAMES
from services.codes.domain.code_files import (
    BOM,
    LineRefused,
    Names,
    Record,
    checked_header,
    read_csv_line,
    read_ndjson_line,
    split_records,
)
from services.codes.domain.coupons import Coupon
from services.codes.domain.errors import TermsFrozen
from services.codes.domain.file_openings import opening_of
from services.codes.domain.given import merged
from services.codes.domain.imports import ImportedCode, check_dates, members_of
from services.codes.domain.jobs import Job, RefusedLine, Step, Tally
from services.codes.domain.promotion_codes import PromotionCode, check_code_terms, fault_of_window
from services.codes.store import imports, jobs, partners, programs
from services.codes.store.promotion_codes import read_codes
from services.codes.usecases.batches import shared_coupon
from shared.canonical import canonical_code
from shared.database.pool import Connection
from shared.events.envelope import OutboxEvent
from shared.faults import TransientFault
from shared.modes import in_mode, is_test

LINES_PER_CHUNK: Final = 2_000
_LINES_IN_A_ROW: Final = 200


@dataclass(slots=True)
class _Outcome:
    """The outcomes of a chunk's lines."""

    refused: list[RefusedLine] = field(default_factory=list)
    passed_over: list[RefusedLine] = field(default_factory=list)
    created: int = 0
    updated: int = 0

    def refuse(self, code: ImportedCode, reason: str, detail: str) -> None:
        self.refused.append(RefusedLine(code.line, code.code, reason, detail))

    def pass_over(self, code: ImportedCode, reason: str, detail: str) -> None:
        self.passed_over.append(RefusedLine(code.line, code.code, reason, detail))


@dataclass(frozen=True, slots=True)
class ImportChunk:
    """The next lines of a file: read, checked against each other and existing codes, and written."""

    new_id: Callable[[], uuid.UUID]

    async def __call__(self, connection: Connection, job: Job, now: datetime) -> Step:
        """Import the next lines in the caller's transaction."""
        if (coupon := await shared_coupon(connection, job)) is None:
            return Step(Tally(), job.position, failure="coupon_archived")
        offset, line = job.position.get("offset", 0), job.position.get("line", 1)
        data = await imports.read_from(connection, job.id, offset)
        is_end = offset + len(data) >= job.spec["bytes"]
        if offset == 0 and data.startswith(BOM):
            data, offset = data[len(BOM) :], len(BOM)
        names = Names(**job.spec.get("names", {}))
        delimiter = job.position.get("dialect", {}).get("delimiter", ",")
        if job.spec["format"] == "csv" and not job.position:
            size, lines, delimiter = opening_of(data)
            data, offset, line = data[size:], offset + size, line + lines
        split = split_records(
            data,
            job.spec["format"],
            is_end=is_end,
            is_skipping=job.position.get("is_skipping", False),
            most=LINES_PER_CHUNK,
            delimiter=delimiter,
        )
        records, header = split.records, job.position.get("header")
        if job.spec["format"] == "csv" and header is None and records:
            header = checked_header(records[0].raw, delimiter, names)
            line, records = line + records[0].lines, records[1:]
        outcome = _Outcome()
        reader = _Reader(header, delimiter, names, await self._timezone(connection, job))
        codes, line, processed = await self._read(records, reader, line, outcome)
        if codes:
            await self._take_in(connection, job, coupon, codes, now, outcome)
        await jobs.insert_errors(connection, job.id, [*outcome.refused, *outcome.passed_over])
        return Step(
            Tally(processed, outcome.created, outcome.updated, len(outcome.passed_over), len(outcome.refused)),
            {
                "offset": offset + split.consumed,
                "line": line,
                "is_skipping": split.is_skipping,
                "header": header,
                "dialect": {"delimiter": delimiter},
            },
            is_last=is_end and split.consumed == len(data),
        )

    def events(self, job: Job, now: datetime) -> list[OutboxEvent]:
        """Return nothing: the job itself shows the result of an import."""
        return []

    async def _timezone(self, connection: Connection, job: Job) -> str:
        program = await programs.find_program(connection, job.program_id)
        return program.settings.timezone if program else "UTC"

    async def _read(
        self, records: Sequence[Record], reader: "_Reader", line: int, outcome: _Outcome
    ) -> tuple[list[ImportedCode], int, int]:
        """Return the readable codes, the number of the next line, and the number of lines with content."""
        codes, processed = [], 0
        for nth, record in enumerate(records):
            if nth % _LINES_IN_A_ROW == 0:
                # Mints and other requests run in between.
                await asyncio.sleep(0)
            try:
                code = reader.code(record.raw, line)
            except LineRefused as refused:
                outcome.refused.append(RefusedLine(line, refused.code, refused.reason, refused.detail))
                processed += 1
            else:
                if code is not None:
                    codes.append(code)
                    processed += 1
            line += record.lines
        return codes, line, processed

    async def _take_in(
        self,
        connection: Connection,
        job: Job,
        coupon: Coupon,
        codes: Sequence[ImportedCode],
        now: datetime,
        outcome: _Outcome,
    ) -> None:
        codes = await self._once_each(connection, job, codes, outcome)
        codes = await self._with_known_partners(connection, job, codes, outcome)
        existing = await imports.taken(connection, job.program_id, [code.canonical for code in codes])
        fresh = [code for code in codes if code.canonical not in existing]
        fresh = _usable(coupon, fresh, outcome)
        fresh = await self._with_free_external_ids(connection, job, fresh, outcome)
        if fresh and not job.spec["is_dry_run"]:
            created = await imports.insert_imported(connection, job, [self.new_id() for _ in fresh], fresh, now)
            if len(created) < len(fresh):
                raise TransientFault("a code or an external id was taken meanwhile")
        outcome.created += len(fresh)
        met = [code for code in codes if code.canonical in existing]
        if met:
            await self._meet(connection, job, coupon, met, now, outcome)

    async def _once_each(
        self, connection: Connection, job: Job, codes: Sequence[ImportedCode], outcome: _Outcome
    ) -> list[ImportedCode]:
        """Refuse codes that an earlier line has, in this chunk or before."""
        first: dict[str, ImportedCode] = {}
        for code in codes:
            if (earlier := first.setdefault(code.canonical, code)) is not code:
                outcome.refuse(code, "duplicate_in_file", f"Line {earlier.line} has the same code.")
        before = await imports.record_lines(connection, job.id, list(first.values()))
        for canonical, line in before.items():
            outcome.refuse(first.pop(canonical), "duplicate_in_file", f"Line {line} has the same code.")
        return list(first.values())

    async def _with_known_partners(
        self, connection: Connection, job: Job, codes: Sequence[ImportedCode], outcome: _Outcome
    ) -> list[ImportedCode]:
        codes = [_in_mode_of(job, code) for code in codes]
        ids = {code.members["partner_id"] for code in codes if "partner_id" in code.members}
        known = await partners.read_partners(connection, job.program_id, list(ids)) if ids else {}
        kept = []
        for code in codes:
            if code.members.get("partner_id") in known or "partner_id" not in code.members:
                kept.append(code)
            else:
                outcome.refuse(code, "unknown_partner", "This program has no such partner.")
        return kept

    async def _with_free_external_ids(
        self, connection: Connection, job: Job, codes: Sequence[ImportedCode], outcome: _Outcome
    ) -> list[ImportedCode]:
        """Refuse codes with the external id of another code, in the table or among these."""
        wanted = {code.members["external_id"] for code in codes if "external_id" in code.members}
        owners = dict(await imports.owners_of_external_ids(connection, job.program_id, wanted)) if wanted else {}
        kept = []
        for code in codes:
            external_id = code.members.get("external_id")
            if external_id is None or owners.setdefault(external_id, code.canonical) == code.canonical:
                kept.append(code)
            else:
                outcome.refuse(code, "external_id_taken", "Another code has this external_id.")
        return kept

    async def _meet(
        self,
        connection: Connection,
        job: Job,
        coupon: Coupon,
        codes: Sequence[ImportedCode],
        now: datetime,
        outcome: _Outcome,
    ) -> None:
        """Treat existing codes as requested."""
        match job.spec["on_conflict"]:
            case "fail":
                for code in codes:
                    outcome.refuse(code, "code_taken", "This code exists.")
            case "skip":
                for code in codes:
                    outcome.pass_over(code, "code_kept", "This code exists and was left unchanged.")
            case _:
                codes = await self._with_free_external_ids(connection, job, codes, outcome)
                await self._update(connection, job, coupon, codes, now, outcome)

    async def _update(
        self,
        connection: Connection,
        job: Job,
        coupon: Coupon,
        codes: Sequence[ImportedCode],
        now: datetime,
        outcome: _Outcome,
    ) -> None:
        ids = await imports.lock_existing(connection, job.program_id, [code.canonical for code in codes])
        existing = {code.canonical: code for code in await read_codes(connection, job.program_id, ids)}
        changed = []
        for code in codes:
            before = existing.get(code.canonical)
            if before is None or before.coupon_id != job.coupon_id:
                outcome.refuse(code, "code_of_another_coupon", "This code belongs to another coupon.")
                continue
            after = replace(before, **_laid_over(before, code.members))
            try:
                check_code_terms(before, after)
                _check_change(before, after, coupon)
            except TermsFrozen as frozen:
                outcome.refuse(code, "terms_frozen", frozen.described(COLUMN_NAMES))
            except LineRefused as refused:
                outcome.refuse(code, refused.reason, refused.detail)
            else:
                if after == before:
                    outcome.pass_over(code, "unchanged", "This code exists and has these values already.")
                else:
                    changed.append(after)
        outcome.updated += len(changed)
        if changed and not job.spec["is_dry_run"]:
            await imports.update_imported(connection, changed, now)


def _usable(coupon: Coupon, codes: Sequence[ImportedCode], outcome: _Outcome) -> list[ImportedCode]:
    """Refuse codes that no one could ever use, or that would be for more people than the line says."""
    kept = []
    for code in codes:
        members = code.members
        try:
            _check_window(members.get("starts_at"), members.get("expires_at"), coupon)
            _check_partner(members.get("partner_id"), is_limited=members.get("is_limited_to_partner", False))
            _check_customer(members.get("customer_id"), members.get("customer_name"))
        except LineRefused as refused:
            outcome.refuse(code, refused.reason, refused.detail)
        else:
            kept.append(code)
    return kept


def _check_change(before: PromotionCode, after: PromotionCode, coupon: Coupon) -> None:
    """Raise LineRefused for faults that a change causes; existing ones stay."""
    if (after.starts_at, after.expires_at) != (before.starts_at, before.expires_at):
        check_dates(after.starts_at, after.expires_at)
        _check_window(after.starts_at, after.expires_at, coupon)
    if not before.is_limited_to_partner:
        _check_partner(after.partner_id, is_limited=after.is_limited_to_partner)
    if after.customer_name != before.customer_name:
        _check_customer(after.customer_id, after.customer_name)


def _check_window(starts_at: datetime | None, expires_at: datetime | None, coupon: Coupon) -> None:
    if (fault := fault_of_window(starts_at, expires_at, coupon)) is not None:
        raise LineRefused("invalid_value", f"{' '.join(fault)}.")


def _check_partner(partner_id: uuid.UUID | None, *, is_limited: bool) -> None:
    if is_limited and partner_id is None:
        raise LineRefused("invalid_value", "partner_only must be false for a code without partner_id.")


def _check_customer(customer_id: str | None, name: str | None) -> None:
    # A name alone identifies nobody at a checkout: anyone could use the code.
    if name is not None and customer_id is None:
        raise LineRefused("invalid_value", "customer_name must be given together with customer_id.")


def _laid_over(before: PromotionCode, members: Mapping[str, Any]) -> dict[str, Any]:
    metadata = merged(before.metadata, members.get("metadata", {}))
    return {**members, "metadata": metadata}


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads the records of one file; `header` is None for NDJSON."""

    header: Sequence[str | None] | None
    delimiter: str
    names: Names
    timezone: str

    def code(self, raw: bytes, line: int) -> ImportedCode | None:
        values: Mapping[str, Any] | None = (
            read_ndjson_line(raw, self.names)
            if self.header is None
            else read_csv_line(raw, self.header, self.delimiter)
        )
        if values is None:
            return None
        text, opening = values["code"], values.get("opening_uses", 0)
        try:
            return ImportedCode(line, text, canonical_code(text), members_of(values, self.timezone), opening)
        except LineRefused as refused:
            raise LineRefused(refused.reason, refused.detail, text) from None


def _in_mode_of(job: Job, code: ImportedCode) -> ImportedCode:
    """Return a line with its partner, named as callers know it, as the tenant in the mode of the job."""
    named = code.members.get("partner_id")
    if named is None or not is_test(job.program_id):
        return code
    return replace(code, members={**code.members, "partner_id": in_mode(named, test=True)})

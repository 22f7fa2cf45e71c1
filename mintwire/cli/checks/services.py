"""Whether each service is alive and ready, and its clock agrees with ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from mintwire.cli.checks.findings import MOST_SECONDS, Finding, fine, wrong
from mintwire.cli.client import Answer, CallFailed, address, ask
from mintwire.stack.config import how_to_start, is_in_container
from shared.clock import Clock, utc_now
from shared.times import in_utc

MOST_APART_SECONDS = 5.0

# Remedies for details that are not periodic tasks.
_REMEDIES = {
    "publishing": "give the broker memory or disk; until then events wait in the outbox and nothing is lost",
    "secrets": "configure the key that encrypted them as well, or have the owners rotate their signing keys or set "
    "`auth` again;  the log names each (`secret_not_decrypted`)",
}


@dataclass(frozen=True)
class Looked:
    """What was found at the URL of a service; `astray` says why it cannot be asked anything more."""

    name: str
    findings: list[Finding]
    astray: str | None = None
    # The service that answers there instead.
    other: str | None = None


async def look_at(name: str, url: str, log: str = "its log", now: Clock = utc_now) -> Looked:
    """Check whether a service is alive and ready, and compare its clock with ours; `log` is where its log is."""
    asked_at = now()
    try:
        alive = await ask("GET", address(url, "livez"), seconds=MOST_SECONDS)
        answered_at = now()
        other = _other(name, alive.value)
        if other is not None:
            return Looked(name, [], f"its URL leads to {other}", other)
        ready = await ask("GET", address(url, "readyz"), seconds=MOST_SECONDS)
    except CallFailed as failed:
        by_hand = "" if is_in_container() else f", or `python -m services.{name} serve`"
        start = f"start it: {how_to_start(name)}{by_hand}; or correct its URL"
        found = wrong(f"{name} lives", str(failed), f"{start}. Why it ended: {log}")
        return Looked(name, [found], f"{name} does not answer")
    return Looked(name, _findings(name, url, alive, ready, log, asked_at + (answered_at - asked_at) / 2))


def check_addresses(looked: Sequence[Looked]) -> list[Finding]:
    """Report URLs that lead to a different service from their name; two of them may be swapped."""
    others = {look.name: look.other for look in looked if look.other is not None}
    findings = []
    for name, other in others.items():
        variable = f"MINTWIRE_{name.upper()}_URL"
        remedy = (
            f"exchange {variable} and MINTWIRE_{other.upper()}_URL"
            if others.get(other) == name
            else f"set {variable} to where {name} serves"
        )
        findings.append(wrong(f"{name} lives", f"{variable} leads to {other}", remedy))
    return findings


def _other(name: str, value: object) -> str | None:
    called = value.get("service") if isinstance(value, dict) else None
    return called if isinstance(called, str) and called != name else None


def _findings(name: str, url: str, alive: Answer, ready: Answer, log: str, ours: datetime) -> list[Finding]:
    return [
        fine(f"{name} lives", url)
        if alive.status == 200
        else wrong(f"{name} lives", f"{url}/livez answered {alive.status}", "restart it, and give it more CPU"),
        _readiness(name, ready.status, ready.value, log),
        *_details(name, ready.value, log),
        _clock(name, alive.headers, ours),
    ]


def _readiness(name: str, status: int, value: object, log: str) -> Finding:
    check = f"{name} is ready"
    parts = value.get("parts") if isinstance(value, dict) else None
    if not isinstance(parts, dict):
        return wrong(
            check, f"/readyz answered {status}, which is not how a service of Mintwire answers", "correct its URL"
        )
    detail = ", ".join(f"{part} {state}" for part, state in parts.items())
    if status == 200:
        return fine(check, detail)
    broken = ", ".join(part for part, state in parts.items() if state != "ok")
    return wrong(check, detail, f"check its {broken} (`mintwire doctor --fix` declares queues). More: {log}")


def _details(name: str, value: object, log: str) -> list[Finding]:
    """Return problems that do not make a service unready, above all those of its periodic tasks."""
    details = value.get("details") if isinstance(value, dict) else None
    if not isinstance(details, dict):
        return []
    broken = {detail: state for detail, state in details.items() if state != "ok"}
    if not broken:
        return [fine(f"{name} maintenance", f"tasks {len(details)}")]
    remedy = f"look for `maintenance_failed` in its log, see docs/operations.md: {log}"
    return [wrong(f"{name} {detail}", str(state), _REMEDIES.get(detail, remedy)) for detail, state in broken.items()]


def _clock(name: str, headers: Mapping[str, str], ours: datetime) -> Finding:
    check = f"{name} has the same time"
    try:
        theirs = parsedate_to_datetime(headers.get("Date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return wrong(check, "its responses have no date", "correct its URL")
    # A date without a zone means UTC. The header is truncated to whole seconds: on average half a second behind.
    theirs = in_utc(theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC))
    apart = abs((theirs - ours).total_seconds() + 0.5)
    if apart > MOST_APART_SECONDS:
        return wrong(check, f"{apart:.0f} s apart", "set the clocks by NTP: webhooks with a wrong time are refused")
    return fine(check, f"{apart:.1f} s apart")

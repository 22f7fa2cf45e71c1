"""`mintwire stats`: codes, redemptions and webhooks over time, as bars for people, JSON or CSV for programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from cyclopts import App, Parameter

from mintwire.cli.client import Asked, CallFailed, address, ask, fetch, refusal
from mintwire.cli.config import Target, read_target
from mintwire.cli.output import AsJSON, Misused, command, plain, tell
from mintwire.terminal import FileOutput, printable, write_json, write_line

app = App(name="stats")

Point = Mapping[str, Any]
_BAR_CHARACTERS = 40


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Span:
    """What all statistics are asked for.

    Parameters
    ----------
    since
        The first step contains this time or date; by default 30 days before the end.
    until
        The last step contains this date, or ends at this time; by default now.
    step
        Hours and days are those of the zone.
    zone
        An IANA time zone; by default the program's.
    groups
        Number of groups shown by themselves; the rest is one more.
    partner
        Only those of the partner with this id.
    """

    since: Annotated[str | None, Parameter(name="--from")] = None
    until: Annotated[str | None, Parameter(name="--to")] = None
    step: Literal["15m", "1h", "1d"] = "1d"
    zone: str | None = None
    groups: int | None = None
    partner: str | None = None
    own: Annotated[bool, Parameter(negative=(), help="As the partner, with its key.")] = False
    as_csv: Annotated[bool, Parameter(name="--csv", negative=(), help="Print a table as CSV.")] = False


@dataclass(frozen=True)
class Column:
    """A figure of a step; what does not add up over steps is left out of the sums of groups."""

    name: str
    read: Callable[[Point], float | None]
    adds_up: bool = True


USUAL = Span()
_CODES = (Column("minted", lambda point: point["minted"]), Column("redeemed", lambda point: point["redeemed"]))
_REDEMPTIONS = tuple(
    Column(name, lambda point, name=name: point[name])  # type: ignore[misc]
    for name in ("redemptions", "voids", "refusals")
)
_WEBHOOKS = (
    Column("deliveries", lambda point: point["deliveries"]["created"]),
    *(
        Column(name, lambda point, name=name: point["deliveries"][name])  # type: ignore[misc]
        for name in ("succeeded", "pending", "dead")
    ),
    Column("messages", lambda point: point["messages"]),
    Column("attempts", lambda point: point["attempts"]["total"]),
    Column("attempts_failed", lambda point: point["attempts"]["failed"]),
    Column("first_try_rate", lambda point: point["attempts"]["first_try_rate"], adds_up=False),
    Column("p95_ms", lambda point: (point["duration_ms"] or {}).get("p95"), adds_up=False),
)


@app.command
@command
async def codes(
    *,
    coupon: str | None = None,
    by: Literal["coupon", "partner"] | None = None,
    span: Span = USUAL,
    as_json: AsJSON = False,
) -> None:
    """Count minted codes over time, and how many of them are redeemed by now.

    Example: mintwire stats codes --from 2026-11-01 --to 2026-11-30

    Parameters
    ----------
    coupon
        Only those of this coupon.
    by
        A line for each of the largest.
    """
    target = read_target()
    query = {"coupon_id": coupon, "group_by": by and f"{by}_id"}
    await _count(target, address(target.codes_url, "v1", "stats", "codes"), query, span, _CODES, as_json)


@app.command
@command
async def redemptions(
    *,
    coupon: str | None = None,
    by: Literal["coupon", "partner", "reason"] | None = None,
    span: Span = USUAL,
    as_json: AsJSON = False,
) -> None:
    """Count redemptions, voids and refusals over time; amounts of money are in --json and --csv.

    Example: mintwire stats redemptions --step 1h --zone Europe/Berlin --from 2026-11-01 --to 2026-11-02

    Parameters
    ----------
    coupon
        Only those of this coupon.
    by
        A line for each of the largest; by reason, of refusals.
    """
    target = read_target()
    query = {"coupon_id": coupon, "group_by": by if by in (None, "reason") else f"{by}_id"}
    url = address(target.redemption_url, "v1", "stats", "redemptions")
    # A redemption or a void has no reason.
    columns = _REDEMPTIONS[-1:] if by == "reason" else _REDEMPTIONS
    await _count(target, url, query, span, columns, as_json)


@app.command
@command
async def webhooks(
    *,
    endpoint: str | None = None,
    event_type: str | None = None,
    reason: str | None = None,
    by: Literal["endpoint", "partner", "event-type", "reason"] | None = None,
    span: Span = USUAL,
    as_json: AsJSON = False,
) -> None:
    """Count messages, deliveries and attempts over time.

    Example: mintwire stats webhooks --by event-type --from 2026-11-01 --to 2026-11-30

    Parameters
    ----------
    endpoint
        Only those of the endpoint with this id.
    event_type
        Only those of this event type, or of a group such as code.*.
    reason
        Only attempts that failed for this reason, such as timeout or http_503.
    by
        A line for each of the largest; by reason, of attempts that failed.
    """
    target = read_target()
    group = {"event-type": "event_type", "reason": "reason"}.get(by or "", by and f"{by}_id")
    query = {"endpoint_id": endpoint, "event_type": event_type, "reason": reason, "group_by": group}
    by_reason = by == "reason" or reason is not None
    columns = [each for each in _WEBHOOKS if each.name.startswith("attempts")] if by_reason else _WEBHOOKS
    await _count(target, address(target.webhooks_url, "v1", "stats", "webhooks"), query, span, columns, as_json)


async def _count(
    target: Target,
    url: str,
    query: Mapping[str, object | None],
    span: Span,
    columns: Sequence[Column],
    as_json: bool,
) -> None:
    if as_json and span.as_csv:
        raise Misused("either --json or --csv")
    asked: Asked = {"query": {**query, **_query(span)}}
    if span.own:
        asked["partner_key"] = target.partner_key
    else:
        asked["key"] = target.program_key
    if span.as_csv:
        asked["headers"] = {"Accept": "text/csv"}
        answer = await ask("GET", url, **asked)
        if not isinstance(answer.value, str):
            raise CallFailed(refusal(answer), answer.status)
        FileOutput().write(answer.value.encode())
        return
    data = await fetch("GET", url, **asked)
    if as_json:
        write_json(data)
    else:
        _draw(data, columns)


def _query(span: Span) -> dict[str, object | None]:
    times = {"from": span.since, "to": span.until, "step": span.step, "zone": span.zone}
    return {**times, "groups": span.groups, "partner_id": span.partner}


def _draw(data: Mapping[str, Any], columns: Sequence[Column]) -> None:
    """Draw a bar for each step or, of what is grouped, for the sum of each group; the first column is its length."""
    if data["group_by"] is None:
        points = data["series"][0]["points"]
        lines = [(_moment(point["at"], data), [column.read(point) for column in columns]) for point in points]
        names = [column.name for column in columns]
    else:
        summed = [column for column in columns if column.adds_up]
        lines = [(_group(each), [_sum(column, each["points"]) for column in summed]) for each in data["series"]]
        names = [column.name for column in summed]
    _table([data["group_by"] or "at", *names], lines)
    tell(f"{data['from']} to {data['to']}, {data['zone']}; counted until {data['as_of'] or 'before an upgrade'}")


def _table(names: Sequence[str], lines: Sequence[tuple[str, Sequence[float | None]]]) -> None:
    rows = [list(names), *([printable(first), *map(_number, figures)] for first, figures in lines)]
    widths = [max(len(row[place]) for row in rows) for place in range(len(names))]
    most = max((figures[0] or 0 for _, figures in lines), default=0)
    bars = ["", *(_bar(figures[0] or 0, most) for _, figures in lines)]
    for row, bar in zip(rows, bars, strict=True):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        write_line("  ".join([*cells, bar]).rstrip())


def _bar(figure: float, most: float) -> str:
    # Whatever is not nothing can be seen.
    return "#" * max(1 if figure else 0, round(_BAR_CHARACTERS * figure / most)) if most else ""


def _number(figure: float | None) -> str:
    if figure is None:
        return plain(None)
    return f"{figure:,}" if isinstance(figure, int) else f"{figure:.3g}" if figure < 1 else f"{figure:,.1f}"


def _sum(column: Column, points: Sequence[Point]) -> float:
    return sum(column.read(point) or 0 for point in points)


def _group(series: Mapping[str, Any]) -> str:
    return "the rest" if series["is_rest"] else series["key"] or "none"


def _moment(text: str, data: Mapping[str, Any]) -> str:
    clock = datetime.fromisoformat(text).astimezone(ZoneInfo(data["zone"]))
    return f"{clock:%Y-%m-%d}" if data["step"] == "1d" else f"{clock:%Y-%m-%d %H:%M}"

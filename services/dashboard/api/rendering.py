"""The templates: escaping always on, undefined names are errors, and the filters by which pages write values."""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from services.dashboard.api.parts import Missing
from services.dashboard.api.static import Static
from services.dashboard.domain import coupons, customers, numbers, times, words
from services.dashboard.domain.accounts import shortened

FOLDER: Final = Path(__file__).parent.parent / "templates"
# Shown as symbols, so that nobody else's text can reorder or hide a line of ours.
_HIDDEN: Final = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
_LONGEST_BODY: Final = 16 * 1024


class Renderer:
    """Renders pages, or a block of one; every template is compiled at start."""

    def __init__(self, static: Static) -> None:
        self.environment = Environment(
            loader=FileSystemLoader(FOLDER),
            autoescape=True,
            undefined=StrictUndefined,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.filters.update(_FILTERS)
        self.environment.tests["missing"] = lambda part: isinstance(part, Missing)
        self.environment.globals.update(static=static.path, words=words, zip=zip)
        for name in self.environment.list_templates():
            self.environment.get_template(name)

    def render(self, template: str, context: Mapping[str, Any], block: str | None = None) -> str:
        """Return a page, or only the named block of it."""
        found = self.environment.get_template(template)
        if block is None:
            return found.render(context)
        return "".join(found.blocks[block](found.new_context(dict(context))))


def visible(text: object) -> str:
    """Return a text of others with control and direction characters as symbols, cut where nobody reads on."""
    shown = _HIDDEN.sub(lambda found: f"\u27e8{ord(found[0]):04X}\u27e9", str(text))
    return shown if len(shown) <= _LONGEST_BODY else f"{shown[:_LONGEST_BODY]}\u2026"


def https_only(url: object) -> str:
    """Return a URL that may be a link; others are empty, and shown as text."""
    text = str(url)
    return text if urlsplit(text).scheme == "https" else ""


@pass_context
def _relative(context: Context, value: str | datetime) -> str:
    page = context["page"]
    return times.relative(times.read(value), page.now, page.zone)


@pass_context
def _short(context: Context, value: str | datetime) -> str:
    page = context["page"]
    return times.short(times.read(value), page.now, page.zone)


@pass_context
def _exact(context: Context, value: str | datetime) -> str:
    return times.exact(times.read(value), context["page"].zone)


@pass_context
def _date(context: Context, value: str | datetime) -> str:
    return times.date(times.read(value), context["page"].zone)


@pass_context
def _clock(context: Context, value: str | datetime) -> str:
    return times.clock(times.read(value), context["page"].zone, seconds=True)


@pass_context
def _is_past(context: Context, value: str | datetime) -> bool:
    return bool(times.read(value) <= context["page"].now)


@pass_context
def _coupon_state(context: Context, coupon: Mapping[str, Any]) -> str:
    return coupons.state_of(coupon, context["page"].now)


_FILTERS: Final = {
    "number": numbers.number,
    "signed": numbers.signed,
    "money": numbers.money,
    "terms": coupons.terms,
    "masked": customers.masked,
    "coupon_state": _coupon_state,
    "plural": numbers.plural,
    "share": numbers.share,
    "relative": _relative,
    "short": _short,
    "exact": _exact,
    "day": _date,
    "clock": _clock,
    "is_past": _is_past,
    "machine": lambda value: times.machine(times.read(value)),
    "duration": times.duration,
    "shortened": shortened,
    "visible": visible,
    "https_only": https_only,
    "segment": lambda value: quote(str(value), safe=""),
}

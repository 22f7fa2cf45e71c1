"""What the templates and files may not contain, and what a visit costs."""

import gzip
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from services.dashboard.api.rendering import FOLDER as TEMPLATES
from services.dashboard.api.rendering import Renderer
from services.dashboard.api.static import FOLDER as FILES
from services.dashboard.api.static import Static
from tests.services.dashboard.conftest import Dashboard
from tests.services.dashboard.contrast import faults

ROOT = Path(__file__).parents[3]
SOURCES = sorted(TEMPLATES.rglob("*.html"))
# Each breaks the policy of the pages, escapes nothing, or evaluates text.
FORBIDDEN = {
    "|safe": re.compile(r"\|\s*safe\b"),
    "autoescape off": re.compile(r"autoescape"),
    "an inline script": re.compile(r"<script(?![^>]*\bsrc=)"),
    "an inline style": re.compile(r"<style|\bstyle="),
    "an event handler": re.compile(r"\son[a-z]+=|\bhx-on"),
    "a trigger filter": re.compile(r"hx-trigger=\"[^\"]*\["),
    "evaluated values": re.compile(r"hx-(?:vals|headers)=['\"]\s*js:|javascript:"),
    "hx-boost": re.compile(r"hx-boost"),
    "an attribute without quotes": re.compile(r"\s[a-z-]+=\{\{"),
    "another origin": re.compile(r"(?:src|href|action)=\"(?:https?:)?//"),
}
_FIRST_VISIT = 150 * 1024
_OWN_SCRIPT = 4 * 1024


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_a_template_has_nothing_that_is_forbidden(path: Path) -> None:
    text = path.read_text("utf-8")
    assert [what for what, pattern in FORBIDDEN.items() if pattern.search(text)] == []


@pytest.mark.parametrize(
    "planted",
    [
        "{{ name | safe }}",
        "<script>x()</script>",
        '<p style="color:red">',
        "<style>p{}</style>",
        '<a onclick="x()">',
        '<p hx-on:click="x()">',
        '<p hx-trigger="click[x]">',
        "<p hx-vals='js:{a: 1}'>",
        '<body hx-boost="true">',
        "<a href={{ url }}>",
        '<img src="https://elsewhere.example/x.png">',
        "{% autoescape false %}",
    ],
)
def test_what_is_forbidden_is_found(planted: str) -> None:
    assert [what for what, pattern in FORBIDDEN.items() if pattern.search(planted)]


class _Forms(HTMLParser):
    """Collects the forms of a template that change something and lack the token."""

    def __init__(self) -> None:
        super().__init__()
        self.without: list[str] = []
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "form" and dict(attrs).get("method") == "post":
            self._open = str(dict(attrs).get("action"))

    def handle_data(self, data: str) -> None:
        if "csrf()" in data:
            self._open = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "form" and self._open:
            self.without.append(self._open)
            self._open = ""


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(TEMPLATES)))
def test_every_form_that_changes_something_has_the_token(path: Path) -> None:
    forms = _Forms()
    forms.feed(path.read_text("utf-8"))
    assert forms.without == []


def test_every_template_compiles_and_names_only_files_that_exist() -> None:
    static = Static()
    renderer = Renderer(static)
    assert len(renderer.environment.list_templates()) == len(SOURCES)
    for path in SOURCES:
        for name in re.findall(r"static\('([^']+)'\)", path.read_text("utf-8")):
            assert static.path(name)


def test_every_icon_that_is_named_exists() -> None:
    known = set(re.findall(r'<symbol id="(\w+)"', (FILES / "icons.svg").read_text("utf-8")))
    texts = [path.read_text("utf-8") for path in SOURCES]
    words = (ROOT / "services/dashboard/domain/words.py").read_text("utf-8")
    navigation = (ROOT / "services/dashboard/domain/navigation.py").read_text("utf-8")
    named = {name for text in texts for name in re.findall(r'icon\("(\w+)"', text)}
    named |= set(re.findall(r'State\("[^"]+", "(\w+)"', words))
    named |= set(re.findall(r'Entry\("[^"]+", "[^"]*", "(\w+)"', navigation))
    assert named - known == set()


def test_the_colours_have_their_contrast_in_both_themes() -> None:
    assert faults((FILES / "tokens.css").read_text("utf-8")) == []


def test_the_check_of_colours_finds_a_weak_pair() -> None:
    text = (FILES / "tokens.css").read_text("utf-8")
    weak = re.sub(r"(--text-3:\s+light-dark\()#[0-9a-f]{6}", r"\1#aaaaaa", text)
    assert weak != text
    assert faults(weak)


def test_vendored_files_have_their_licence_beside_them() -> None:
    folders = [path for path in (FILES / "vendor").iterdir() if path.is_dir()]
    assert len(folders) == 2
    for folder in folders:
        assert (folder / "LICENSE").is_file(), folder
        # The version is part of the name.
        assert re.search(r"-\d+\.\d+\.\d+$", folder.name)


def test_the_own_script_is_small() -> None:
    assert len(gzip.compress((FILES / "app.js").read_bytes(), 9)) < _OWN_SCRIPT
    assert len((FILES / "app.js").read_bytes()) < _OWN_SCRIPT


@pytest.mark.parametrize("path", ["/merchant", "/merchant/team", "/account"])
async def test_a_first_visit_is_light(dashboard: Dashboard, path: str) -> None:
    """What a browser loads for the first page, unpacked: the page, its files, and the one font that it needs."""
    browser = await dashboard.signed_in()
    page = await browser.get(path)
    names = set(re.findall(r'"(/static/[^"#]+)', page.text))
    total = len(page.text.encode())
    for name in names:
        async with dashboard.http.get(dashboard.url + name, headers={"Accept-Encoding": "identity"}) as reply:
            assert reply.status == 200, name
            total += len(await reply.read())
    assert any("geist-latin-wght" in name for name in names)
    assert total <= _FIRST_VISIT

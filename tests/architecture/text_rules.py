"""The rules about text: no registry hosts, no paths of one machine, reasons for what is switched off, plain words."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from itertools import chain
from typing import Final

from tests.architecture.source import Fault

# Written in pieces so that this file does not name what it looks for.
_HOSTS = re.compile(
    r"\b(?:(?:files\.|test\.)?py" + r"thonhosted\.org|(?:test\.)?py" + r"pi\.(?:org|python\.org)"
    r"|registry\.(?:np" + r"mjs\.org|yarnpkg\.com)|index\.crates" + r"\.io|proxy\.gol" + r"ang\.org)",
    re.IGNORECASE,
)
_LOCAL_PATHS = re.compile(r"(?<![\w.$}>)\]-])/(?:ho" + r"me|ro" + r"ot|wo" + r"rk|fa" + r"rm|Us" + r"ers)/[\w.-]")
_NOQA = re.compile(r"#\s*noqa(?P<codes>:\s*[A-Z]+\d+(?:\s*,\s*[A-Z]+\d+)*)?(?P<rest>[^#\n]*)")
_BARE_TYPE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)")
_RUFF_CODE = re.compile(r'"[A-Z]+\d+"')
_KEY = re.compile(r'"?([\w*/.-]+)"?\s*=')
# What a native speaker would not write, and what to write instead. Names in backticks may have any words.
_STUMBLES: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), better)
    for pattern, better in (
        (r"\bso many\b", "this many, up to N, several"),
        (r"\bhow many at most\b", "the maximum number of"),
        (r"\bas (?:many|much|often)\b[^.]{0,30}\bas (?:there )?may be\b", "the maximum, up to the limit"),
        (r"\bwho(?:m)?ever\b", "anyone who, or name who it is"),
        (r"\banew\b", "again"),
        (r"\bof late\b", "recently"),
        (r"\bkept no longer\b", "no longer stored"),
        (r"\b(?:is|are|was|were) (?:told|said) (?:of|about|when|with)\b", "is emitted, returned or reported"),
        (r"\btells of\b", "reports, shows"),
        (r"\bheard of\b", "received, known"),
        (r"\b(?:came|comes|come|became|becomes) of\b", "the result of"),
        (r"\b(?:brings?|brought) (?:it |them |this |that )?about\b", "causes"),
        (r"(?<!told )\bapart by\b", "separated by"),
        (r"\btwins?\b(?! peaks)", "a request with the same key, the other one"),
        (r"(?-i:(?:^|[.:;] )Of (?!course\b))", "turn the sentence round"),
        (r"\b(?:he|him|himself|his)\b", "it, they, or the name of the thing"),
    )
)
_CODE = re.compile(r"`[^`]*`")
_FENCE = re.compile(r"^\s*(?:```|~~~)")


def registry_hosts(path: str, text: str) -> Iterator[Fault]:
    """Find names of package registries: requirements are locked by hash, and the place they come from is the user's."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _HOSTS.search(line):
            yield Fault(path, number, f"names the package registry {match[0]}")


def local_paths(path: str, text: str) -> Iterator[Fault]:
    """Find absolute paths of somebody's machine."""
    for number, line in enumerate(text.splitlines(), 1):
        if (match := _LOCAL_PATHS.search(line)) and "arch: allow-local-path: " not in line:
            yield Fault(path, number, f"holds the absolute path {match[0]}...")


def unexplained_switches(path: str, text: str) -> Iterator[Fault]:
    """Find `noqa` without a rule or without a reason on the line, and `type: ignore` without a rule."""
    for number, line in enumerate(text.splitlines(), 1):
        if (match := _NOQA.search(line)) and not (match["codes"] and match["rest"].strip(" -:#")):
            yield Fault(path, number, "noqa names its rule and gives its reason on the line")
        if _BARE_TYPE_IGNORE.search(line):
            yield Fault(path, number, "type: ignore names its rule")


def unexplained_ruff_ignores(path: str, text: str) -> Iterator[Fault]:
    """Find ignores in ruff's configuration without a comment on their line."""
    section = key = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("["):
            section, key = line.strip("[] "), ""
        elif match := _KEY.match(line):
            key = match[1]
        is_ignore = section.endswith("per-file-ignores") or key in {"ignore", "extend-ignore"}
        if section.startswith("tool.ruff") and is_ignore and _RUFF_CODE.search(line) and "#" not in line:
            yield Fault(path, number, "every ignored rule has its reason on its line")


def stumbles(path: str, text: str) -> Iterator[Fault]:
    """Find words in prose that no native speaker would write: in docstrings, comments, messages and documents."""
    for number, passage in _prose(path, text):
        plain = _CODE.sub("``", " ".join(passage.split()))
        for pattern, better in _STUMBLES:
            if match := pattern.search(plain):
                yield Fault(path, number, f'"{match[0].strip()}": write {better}')


def _prose(path: str, text: str) -> Iterator[tuple[int, str]]:
    if path.endswith(".py"):
        # Strings of tests are data as often as words.
        return chain(_docstrings(text) if path.startswith("tests/") else _sentences(text), _comments(text))
    return _paragraph_lines(text) if path.endswith(".md") else _hash_comments(text)


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.count(" ") > 1:
            yield node.lineno, node.value


def _docstrings(text: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def _comments(text: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("# ")


def _paragraph_lines(text: str) -> Iterator[tuple[int, str]]:
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        if _FENCE.match(line):
            is_code = not is_code
        elif not is_code:
            yield number, line.lstrip("-*> ")


def _hash_comments(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), 1):
        if (stripped := line.strip()).startswith(("#", "//", "*", "/*")):
            yield number, stripped.lstrip("#/* ")

"""The rules about text: no registry hosts, no paths of one machine, and a reason beside everything switched off."""

import re
from collections.abc import Iterator

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

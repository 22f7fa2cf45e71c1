"""Reads the repository's files for the architecture tests, and the named comments that switch a rule off."""

import ast
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("services", "shared", "mintwire", "bench", "scripts")

# The names that a comment `# arch: allow-<name>: <reason>` may switch off on its line.
RULES = frozenset({"broad-except", "built-sql", "environment", "function-import", "local-path"})
_ALLOW = re.compile(r"#\s*arch:\s*allow-([a-z-]+)(?::\s*(\S.*))?")


@dataclass(frozen=True)
class Fault:
    """One place where a rule is broken."""

    where: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.where}:{self.line}: {self.what}"


@dataclass(frozen=True)
class PythonFile:
    """One parsed source file; `path` is relative to the repository."""

    path: str
    text: str
    tree: ast.Module

    @cached_property
    def lines(self) -> list[str]:
        return self.text.splitlines()

    def allows(self, rule: str, node: ast.AST) -> bool:
        """Return whether a comment with a reason on a line of this node (or just above it) switches the rule off."""
        first = getattr(node, "lineno", 1)
        last = getattr(node, "end_lineno", first)
        # The body of a compound statement is not its line: only the head counts.
        if isinstance(node, ast.ExceptHandler):
            last = first
        return any(
            match[1] == rule and match[2]
            for line in self.lines[max(first - 2, 0) : last]
            if (match := _ALLOW.search(line))
        )

    def fault(self, node: ast.AST, what: str) -> Fault:
        """Name a place in this file."""
        return Fault(self.path, getattr(node, "lineno", 1), what)


def parsed(path: str, text: str) -> PythonFile:
    """Parse one source text under the given path; also the way to plant a fault."""
    return PythonFile(path, text, ast.parse(text))


@cache
def python_files(*folders: str) -> tuple[PythonFile, ...]:
    """Return every Python file under the given top-level folders."""
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return tuple(_read(path) for path in found)


@cache
def _read(path: Path) -> PythonFile:
    return parsed(str(path.relative_to(ROOT)), path.read_text("utf-8"))


@cache
def repository_files() -> tuple[str, ...]:
    """Return the paths that git tracks or would track: everything here that is not ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return tuple(path for path in sorted(set(listed.stdout.splitlines())) if (ROOT / path).is_file())


def is_store(path: str) -> bool:
    """Return whether the path may hold SQL: a service's store, or shared.database."""
    parts = Path(path).with_suffix("").parts
    return parts[:2] == ("shared", "database") or (parts[0] == "services" and parts[2:3] == ("store",))


def allow_comment_faults(path: str, text: str) -> Iterator[Fault]:
    """Find comments that switch off an unknown rule, or give no reason."""
    for number, line in enumerate(text.splitlines(), 1):
        if match := _ALLOW.search(line):
            if match[1] not in RULES:
                yield Fault(path, number, f"no rule is called {match[1]!r}")
            elif not match[2]:
                yield Fault(path, number, f"allow-{match[1]} needs a reason: '# arch: allow-{match[1]}: ...'")

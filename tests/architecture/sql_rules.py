"""The rules about SQL: upper-case constants in stores, never built from strings, and none of it in a handler."""

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from shared.database.rows import Statement
from tests.architecture.source import Fault, PythonFile, is_store

_CALLS = frozenset(
    {"copy_from_query", "cursor", "execute", "executemany", "fetch", "fetchmany", "fetchrow", "fetchval", "prepare"}
)
_SQL = re.compile(
    r"\s*(?:--[^\n]*\n\s*)*(?:SELECT\b|INSERT\s+INTO\b|UPDATE\s+[\w.\"]+\s+(?:AS\s+)?[\w\s]*?SET\b|DELETE\s+FROM\b|WITH\s+\w+.*\bAS\b"
    r"|CREATE\s+\w+|ALTER\s+\w+|DROP\s+\w+|GRANT\s+\w+|REVOKE\s+\w+|LOCK\s+TABLE|TRUNCATE\b|MERGE\s+INTO)",
    re.DOTALL,
)
_PREPARABLE = re.compile(r"\s*(?:--[^\n]*\n\s*)*(?:SELECT|INSERT|UPDATE|DELETE|WITH|MERGE|VALUES)\b")


def is_sql(text: str) -> bool:
    """Return whether a string constant reads as an SQL statement (keywords are written in capitals)."""
    return bool(_SQL.match(text))


def constants(file: PythonFile) -> dict[str, tuple[ast.expr, int]]:
    """Return the module's upper-case constants: name to value and line."""
    found: dict[str, tuple[ast.expr, int]] = {}
    for node in file.tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name, value = node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            name, value = node.target.id, node.value
        else:
            continue
        if name.isupper():
            found[name] = (value, node.lineno)
    return found


def statements(file: PythonFile) -> dict[str, str]:
    """Return the statements of a store that the server can prepare: constant's name to text."""
    found = {name: _statement(value) for name, (value, _) in constants(file).items()}
    return {name: text for name, text in found.items() if text is not None and _PREPARABLE.match(text)}


def _statement(value: ast.expr) -> str | None:
    """Return the text of a statement as the server gets it, whether its parameters have numbers or names."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        return value.value
    is_named = isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id == Statement.__name__
    if is_named and isinstance(value, ast.Call) and isinstance(value.args[0], ast.Constant):
        return Statement(str(value.args[0].value)).text
    return None


def loose_sql(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find SQL in a store that is no upper-case constant, and SQL anywhere else in services and shared."""
    for file in files:
        named = {id(node) for value, _ in constants(file).values() for node in ast.walk(value)}
        for node in ast.walk(file.tree):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and is_sql(node.value)):
                continue
            if file.allows("built-sql", node):
                continue
            if not is_store(file.path):
                yield file.fault(node, "SQL lives in a service's store or in shared.database")
            elif id(node) not in named:
                yield file.fault(node, "SQL is an upper-case constant of its module")


def built_sql(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find statements that are put together from strings, or that reach the driver as anything but a constant."""
    for file in files:
        if not is_store(file.path):
            continue
        for name, (value, _) in constants(file).items():
            if _is_built(value) and _mentions_sql(value) and not file.allows("built-sql", value):
                yield file.fault(value, f"{name} is put together from strings")
        for node in ast.walk(file.tree):
            if not _is_driver_call(node) or file.allows("built-sql", node):
                continue
            assert isinstance(node, ast.Call)
            if node.args and not _is_constant_name(node.args[0]):
                yield file.fault(node, "the driver is given a named upper-case constant, nothing else")


def sql_in_handlers(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find calls of the driver in a service's handlers; SQL text there is found by `loose_sql`."""
    for file in files:
        parts = PurePath(file.path).with_suffix("").parts
        if parts[0] != "services" or parts[2:3] not in {("api",), ("consumers",), ("dispatcher",)}:
            continue
        for node in ast.walk(file.tree):
            if _is_driver_call(node):
                yield file.fault(node, "a handler calls one use case; it never touches SQL")


def _is_driver_call(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in _CALLS
        # A use case or a mapping may have a method `execute`; the driver's are called with a statement first.
        and bool(node.args)
    )


def _is_constant_name(node: ast.expr) -> bool:
    if isinstance(node, ast.Starred) and isinstance(node.value, ast.Call):
        # A named statement gives the driver its text and its values.
        return _is_constant_name(node.value.func)
    if isinstance(node, ast.Name):
        return node.id.isupper()
    if isinstance(node, ast.Attribute):
        return node.attr.isupper()
    return False


def _is_built(node: ast.expr) -> bool:
    if isinstance(node, (ast.JoinedStr, ast.BinOp)):
        return True
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"format", "format_map", "join", "replace"}
    )


def _mentions_sql(node: ast.expr) -> bool:
    return any(
        isinstance(part, ast.Constant) and isinstance(part.value, str) and is_sql(part.value) for part in ast.walk(node)
    )

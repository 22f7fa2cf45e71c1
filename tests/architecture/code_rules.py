"""The rules about Python code that imports cannot show; each takes parsed files and yields the places that break it."""

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import PurePath

from tests.architecture.source import Fault, PythonFile

# The only modules in which an unknown exception must not end everything, each with its reason.
PROCESS_EDGES = {
    "shared/process.py": "a part that dies takes the process down, loudly and in order",
    "shared/periodic.py": "a periodic task that fails must end neither itself nor the others",
    "shared/broker/consumer.py": "one bad message must not hold the rest: the batch is bisected",
    "shared/broker/dead_letter_publisher.py": "a letter that cannot be made or sent must not hold the rest",
    "shared/broker/lines.py": "a line about a message must not fail for what is in it",
    "shared/web/endpoint.py": "nothing above a request could still answer it",
    "services/dashboard/api/serving.py": "nothing above a page could still answer it",
    "shared/web/server.py": "anybody may write anything to a socket, and the parser fails on it as it likes",
    "services/webhooks/sender/client.py": "a receiver must not be able to end the sender, whatever it answers",
    "services/codes/usecases/run_jobs.py": "a job that cannot be done must not keep the others from being done",
    "services/webhooks/dispatcher/sending.py": "one delivery must not end the others",
    "services/webhooks/dispatcher/writer.py": "one bad result must not keep the others from being written",
    "services/webhooks/usecases/run_replays.py": "a replay that cannot go on must not keep the others from going on",
    "shared/grouping.py": "one bad request must not fail those it was grouped with",
}

# The only modules with endless loops that keep a pace of their own; all other periodic work is a `Periodic`, which
# outlives what it raises and is shown.
PACED_LOOPS = {
    "shared/periodic.py": "the one such loop",
    "shared/broker/connection.py": "a connection that was lost is replaced",
    "shared/broker/consumer.py": "a message waits for company; what goes wrong is the message's, not the loop's",
    "shared/broker/relay.py": "an event waits for company, and its confirm is written until that works",
    "shared/database/migrations.py": "an operator waits for it to end",
    "shared/database/purging.py": "the batches of one run",
    "services/webhooks/dispatcher/writer.py": "results are written in groups, and until that works",
    "services/webhooks/usecases/restate_bodies.py": "the steps of one run",
}

# What use cases are given beside data: the clock, which is a type of its own, and these.
PORTS = frozenset({"new_id", "hand_over", "wake", "note_secret", "HandOver", "Renew", "Wake"})
# The only other modules of domains and use cases whose signatures have callables, each with its reason.
OPEN_TO_CALLABLES = {
    "services/codes/domain/code_columns.py": "a column's readers are functions of that module",
    "services/codes/domain/faults.py": "converters are functions of the domain",
    "services/codes/usecases/start_import.py": "how to answer is known once the body that it hashes has been read",
    "services/webhooks/domain/debugging.py": "the check of a signature needs a library that a domain does not import",
    "services/webhooks/usecases/customer_parts.py": "the reader of events is wired by the application",
    "services/webhooks/usecases/remove_old.py": "the steps of a removal are functions of that module",
    "services/webhooks/usecases/send_test.py": "the sender posts, and is wired by the application",
}
# The services whose domains and use cases take no mapping of anything, and of these the modules that do, with reasons.
# The webhooks service carries JSON that others wrote: there a mapping of anything is the thing itself.
TYPED_SERVICES = frozenset({"codes", "redemption"})
OPEN_TO_MAPPINGS = {
    "services/codes/domain/documents.py": "JSON that we keep, under one name",
    "services/codes/domain/imports.py": "a line gives some columns of many, and there are thousands a second",
    "services/redemption/usecases/read_orders.py": "attributes are the checkout's own JSON",
}

# Standard library modules that reach outside or read a clock; domain code takes such things as arguments.
_IMPURE_MODULES = frozenset(
    {
        *("asyncio", "concurrent", "http", "io", "logging", "multiprocessing", "os", "pathlib", "select"),
        *("selectors", "shutil", "socket", "sqlite3", "ssl", "subprocess", "sys", "tempfile", "threading", "time"),
        "urllib.request",
    }
)
# What of `shared` is as pure as the domain itself.
PURE_SHARED = frozenset(
    f"shared.{name}"
    for name in (
        *(
            "accounts",
            "canonical",
            "cells",
            "client_networks",
            "csv_lines",
            "currencies",
            "derived_ids",
            "draft_coupons",
            "erasing",
            "known_ids",
            "mailboxes",
            "modes",
        ),
        *("export_lines", "reasons", "steps"),
        *("strict_json", "times"),
    )
)
MOST_POSITIONAL = 6
_CLOCKS = frozenset({"now", "utcnow", "today"})


def environment_reads(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find reads of the environment outside config.py."""
    for file in files:
        if PurePath(file.path).name == "config.py":
            continue
        for node in ast.walk(file.tree):
            if _reads_environment(node) and not file.allows("environment", node):
                yield file.fault(node, "only config.py reads the environment")


def _reads_environment(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return (
            isinstance(node.value, ast.Name)
            and node.value.id == "os"
            and node.attr in {"environ", "environb", "getenv", "getenvb"}
        )
    if isinstance(node, ast.ImportFrom) and node.module == "os":
        return any(alias.name in {"environ", "environb", "getenv", "getenvb"} for alias in node.names)
    return False


def missing_docstrings(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find modules that do not open with a docstring."""
    for file in files:
        if not ast.get_docstring(file.tree):
            yield Fault(file.path, 1, "a module opens with one to three lines: what it owns, what it refuses to do")


def function_imports(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find imports inside functions: each hides a cycle, or a cost."""
    for file in files:
        for function in ast.walk(file.tree):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for node in ast.walk(function):
                    is_import = isinstance(node, (ast.Import, ast.ImportFrom))
                    if is_import and not file.allows("function-import", node):
                        yield file.fault(node, "imports stand at the top of the file")


def broad_excepts(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find clauses that catch everything outside the edges of the process; to clean up and raise again is fine."""
    for file in files:
        if file.path in PROCESS_EDGES:
            continue
        for node in ast.walk(file.tree):
            what = _swallowed_by(node)
            if what and not file.allows("broad-except", node):
                yield file.fault(node, what)


def _swallowed_by(node: ast.AST) -> str:
    if isinstance(node, ast.ExceptHandler) and _is_broad(node.type) and not _raises_again(node):
        return "catch narrowly; broad clauses belong to the edges of the process"
    if isinstance(node, ast.Call) and _is_broad_suppress(node):
        return "suppress narrowly; this swallows everything"
    return ""


def _is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    if isinstance(caught, ast.Tuple):
        return any(_is_broad(member) for member in caught.elts)
    return isinstance(caught, ast.Name) and caught.id in {"Exception", "BaseException"}


def _raises_again(handler: ast.ExceptHandler) -> bool:
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def _is_broad_suppress(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    return name == "suppress" and any(_is_broad(argument) for argument in call.args)


def impure_domain(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find in a service's domain: imports beyond the standard library, itself and PURE_SHARED, I/O, and clocks."""
    for file in files:
        parts = PurePath(file.path).with_suffix("").parts
        if parts[0] != "services" or parts[2:3] != ("domain",):
            continue
        own = ".".join(parts[:3])
        for node in ast.walk(file.tree):
            for module in _imported_modules(node):
                if not _is_pure_module(module, own):
                    yield file.fault(node, f"domain does not import {module}: standard library only, no I/O, no clock")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CLOCKS:
                yield file.fault(node, f"domain does not call .{node.func.attr}(): time comes in as an argument")
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"open", "print"}:
                yield file.fault(node, f"domain does not call {node.func.id}()")


def _imported_modules(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [node.module or ""]
    return []


def _is_pure_module(module: str, own: str) -> bool:
    top = module.partition(".")[0]
    if module == own or module.startswith(own + ".") or module in PURE_SHARED:
        return True
    return top in sys.stdlib_module_names and top not in _IMPURE_MODULES and module not in _IMPURE_MODULES


def open_seams(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find in domains and use cases signatures through which an outer layer could run inside, or anything could pass.

    A closure that the edge makes and a use case calls is the edge at work inside a transaction, which no import shows;
    a mapping of anything that becomes members of ours is what the type checker cannot see. Looked at are public
    functions, members of classes, and aliases of types.
    """
    for file in files:
        parts = PurePath(file.path).with_suffix("").parts
        if parts[0] != "services" or parts[2:3] not in (("domain",), ("usecases",)):
            continue
        for name, annotation in _seams(file.tree):
            for node in ast.walk(annotation):
                head = ast.unparse(node.value) if isinstance(node, ast.Subscript) else ""
                if head == "Callable" and name not in PORTS and file.path not in OPEN_TO_CALLABLES:
                    yield file.fault(node, f"{name}: data goes in, not functions; ports are {', '.join(sorted(PORTS))}")
                is_open = parts[1] in TYPED_SERVICES and file.path not in OPEN_TO_MAPPINGS
                if head in {"Mapping", "dict"} and is_open and _holds_anything(node):
                    yield file.fault(node, f"{name}: members have types; a mapping of anything hides them")


def _holds_anything(mapping: ast.AST) -> bool:
    members = mapping.slice.elts if isinstance(mapping, ast.Subscript) and isinstance(mapping.slice, ast.Tuple) else []
    return bool(members) and isinstance(members[-1], ast.Name) and members[-1].id == "Any"


def _seams(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield what a module shows to others: parameters and returns, members of classes, aliases, each with its name."""
    for statement in tree.body:
        match statement:
            case ast.ClassDef(body=members):
                for member in members:
                    if isinstance(member, ast.AnnAssign):
                        yield ast.unparse(member.target), member.annotation
                    yield from _signature(member)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Subscript() as value):
                yield name, value
            case _:
                yield from _signature(statement)


def _signature(node: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return
    if node.name.startswith("_") and node.name != "__call__":
        return
    arguments = node.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs):
        if argument.annotation is not None:
            yield argument.arg, argument.annotation
    if node.returns is not None:
        yield node.name, node.returns


def paced_loops(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find endless loops with a pace of their own."""
    for file in files:
        if file.path in PACED_LOOPS:
            continue
        for loop in ast.walk(file.tree):
            if isinstance(loop, ast.While) and isinstance(loop.test, ast.Constant) and _keeps_a_pace(loop):
                yield file.fault(loop, "periodic work is a Periodic of shared/periodic.py")


def _keeps_a_pace(loop: ast.While) -> bool:
    calls = (node for node in ast.walk(loop) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
    return any(
        isinstance(call.func, ast.Attribute)
        and call.func.attr in {"sleep", "wait_for", "timeout"}
        and isinstance(call.func.value, ast.Name)
        and call.func.value.id == "asyncio"
        and not (call.args and isinstance(call.args[0], ast.Constant) and call.args[0].value == 0)
        for call in calls
    )


def positional_arguments(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find calls whose arguments are told apart by their places although there are more than six."""
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Call) and len(node.args) > MOST_POSITIONAL:
                yield file.fault(node, f"more than {MOST_POSITIONAL} arguments are given by name")


def literals_in_two_orders(files: Iterable[PythonFile]) -> Iterator[Fault]:
    """Find literal types of the same members in different orders.

    Python takes them for equal, so that whichever is read first decides the order that a published document shows.
    """
    first: dict[frozenset[object], str] = {}
    for file in files:
        for node in ast.walk(file.tree):
            if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == "Literal":
                text = ast.unparse(node.slice)
                members = frozenset(ast.unparse(each) for each in getattr(node.slice, "elts", [node.slice]))
                if first.setdefault(members, text) != text:
                    yield file.fault(node, f"({first[members]}) stands elsewhere: keep to one order")

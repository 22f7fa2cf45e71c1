"""The tree keeps the rules about Python code, and each check catches what it is there for."""

from collections.abc import Callable, Iterable, Iterator

import pytest

import services
import shared
from tests.architecture import code_rules, sql_rules
from tests.architecture.source import (
    PACKAGES,
    ROOT,
    Fault,
    PythonFile,
    allow_comment_faults,
    parsed,
    python_files,
)

Rule = Callable[[Iterable[PythonFile]], Iterator[Fault]]

RULES: dict[Rule, tuple[str, ...]] = {
    code_rules.environment_reads: ("services", "shared"),
    code_rules.missing_docstrings: PACKAGES,
    code_rules.function_imports: PACKAGES,
    code_rules.broad_excepts: ("services", "shared", "mintwire"),
    code_rules.impure_domain: ("services",),
    code_rules.open_seams: ("services",),
    code_rules.paced_loops: ("services", "shared"),
    code_rules.literals_in_two_orders: ("services", "shared", "mintwire"),
    code_rules.positional_arguments: ("services", "shared", "mintwire"),
    sql_rules.loose_sql: ("services", "shared"),
    sql_rules.built_sql: ("services", "shared"),
    sql_rules.sql_in_handlers: ("services",),
}

STORE = "services/codes/store.py"
DOMAIN = "services/codes/domain/quota.py"
USECASE = "services/codes/usecases/coupons.py"
HANDLER = "services/codes/api/management/coupons.py"

PLANTED: list[tuple[Rule, str, str]] = [
    (code_rules.environment_reads, "services/codes/app.py", "import os\nX = os.environ['A']\n"),
    (code_rules.environment_reads, "shared/log.py", "import os\nX = os.getenv('A')\n"),
    (code_rules.environment_reads, "shared/log.py", "from os import environ\n"),
    (code_rules.missing_docstrings, "shared/new.py", "X = 1\n"),
    (code_rules.missing_docstrings, "shared/new.py", ""),
    (code_rules.function_imports, "shared/new.py", "def f():\n    import json\n"),
    (code_rules.function_imports, "shared/new.py", "async def f():\n    if x:\n        from a import b\n"),
    (code_rules.broad_excepts, "shared/new.py", "try:\n    f()\nexcept Exception:\n    pass\n"),
    (code_rules.broad_excepts, "shared/new.py", "try:\n    f()\nexcept:\n    g()\n"),
    (code_rules.broad_excepts, "shared/new.py", "try:\n    f()\nexcept (OSError, BaseException):\n    pass\n"),
    (code_rules.broad_excepts, "shared/new.py", "with contextlib.suppress(Exception):\n    f()\n"),
    (code_rules.impure_domain, DOMAIN, "import pydantic\n"),
    (code_rules.impure_domain, DOMAIN, "from shared.clock import utc_now\n"),
    (code_rules.impure_domain, DOMAIN, "import time\n"),
    (code_rules.impure_domain, DOMAIN, "from services.codes.store import Store\n"),
    (code_rules.impure_domain, DOMAIN, "from datetime import datetime\nX = datetime.now()\n"),
    (code_rules.impure_domain, DOMAIN, "X = open('file')\n"),
    (code_rules.open_seams, DOMAIN, "class Draft:\n    members: Callable[[Settings], Terms]\n"),
    (code_rules.open_seams, DOMAIN, "Changes = Callable[[Settings], Terms]\n"),
    (code_rules.open_seams, DOMAIN, "class Draft:\n    members: Mapping[str, Any]\n"),
    (code_rules.open_seams, USECASE, "class Create:\n    async def __call__(self, changes: dict[str, Any]): ...\n"),
    (code_rules.open_seams, USECASE, "def create(render: Callable[[T], Answer] | None) -> None: ...\n"),
    (code_rules.open_seams, USECASE, "def create() -> Mapping[str, Any]: ...\n"),
    (
        code_rules.paced_loops,
        "services/codes/app.py",
        "async def f():\n    while True:\n        await g()\n        await asyncio.sleep(5)\n",
    ),
    (
        code_rules.paced_loops,
        "shared/new.py",
        "async def f():\n    while True:\n        async with asyncio.timeout(PAUSE):\n            await event.wait()\n",
    ),
    (code_rules.positional_arguments, STORE, "Redemption(a, b, c, d, e, f, g)\n"),
    (code_rules.literals_in_two_orders, "shared/new.py", "A = Literal['a', 'b']\nB = Literal['b', 'a'] | None\n"),
    (sql_rules.loose_sql, STORE, "async def f(c):\n    await c.fetch('SELECT 1')\n"),
    (sql_rules.loose_sql, STORE, "query = 'SELECT 1'\n"),
    (sql_rules.loose_sql, HANDLER, "QUERY = 'UPDATE codes.codes SET x = 1'\n"),
    (sql_rules.loose_sql, "shared/web/server.py", "QUERY = '''\n  INSERT INTO a VALUES (1)'''\n"),
    (sql_rules.built_sql, STORE, "QUERY = f'SELECT {x}'\n"),
    (sql_rules.built_sql, STORE, "QUERY = 'SELECT %s' % x\n"),
    (sql_rules.built_sql, STORE, "QUERY = 'SELECT {}'.format(x)\n"),
    (sql_rules.built_sql, STORE, "QUERY = 'SELECT 1 FROM ' + TABLE\n"),
    (sql_rules.built_sql, STORE, "async def f(c):\n    await c.execute(QUERY + 'x')\n"),
    (sql_rules.built_sql, STORE, "async def f(c):\n    q = QUERY + 'x'\n    await c.fetchrow(q, 1)\n"),
    (sql_rules.built_sql, STORE, "async def f(c):\n    await c.fetchval(f'{QUERY}', 1)\n"),
    (sql_rules.built_sql, "shared/database/outbox.py", "async def f(c):\n    await c.fetchval(QUERY % 1, 1)\n"),
    (sql_rules.built_sql, STORE, "async def f(c):\n    await c.fetch(*query(a=1))\n"),
    (sql_rules.sql_in_handlers, HANDLER, "async def f(c):\n    await c.fetchval(QUERY)\n"),
    (sql_rules.sql_in_handlers, "services/codes/consumers.py", "async def f(c):\n    await c.execute(Q, 1)\n"),
]

ALLOWED: list[tuple[Rule, str, str]] = [
    (code_rules.environment_reads, "services/codes/config.py", "import os\nX = os.environ['A']\n"),
    (code_rules.function_imports, "shared/new.py", "if TYPE_CHECKING:\n    import json\n"),
    (
        code_rules.broad_excepts,
        "shared/new.py",
        "try:\n    f()\nexcept Exception:  # arch: allow-broad-except: the loop must go on\n    pass\n",
    ),
    (code_rules.broad_excepts, "shared/new.py", "try:\n    f()\nexcept BaseException:\n    g()\n    raise\n"),
    (code_rules.broad_excepts, "shared/process.py", "try:\n    f()\nexcept Exception:\n    pass\n"),
    (code_rules.impure_domain, DOMAIN, "from services.codes.domain.errors import E\nimport datetime\n"),
    (code_rules.open_seams, USECASE, "class Create:\n    new_id: Callable[[], uuid.UUID]\n    clock: Clock\n"),
    (code_rules.open_seams, USECASE, "def _read(row: Mapping[str, Any]) -> None: ...\n"),
    (code_rules.open_seams, DOMAIN, "class Draft:\n    metadata: Mapping[str, str | int]\n"),
    (code_rules.open_seams, HANDLER, "Render = Callable[[T], Answer]\n"),
    (code_rules.paced_loops, "shared/new.py", "async def f():\n    while True:\n        await asyncio.sleep(0)\n"),
    (code_rules.positional_arguments, STORE, "Redemption(a, b, *c, d, e, f, g=g)\n"),
    (sql_rules.loose_sql, STORE, "QUERY = '''\nSELECT 1'''\nERROR = 'Select a coupon first.'\n"),
    (sql_rules.built_sql, STORE, "QUERY = 'SELECT 1 ' 'FROM a'\nasync def f(c):\n    await c.fetch(QUERY, 1)\n"),
    (
        sql_rules.built_sql,
        "shared/database/migrations.py",
        "async def f(c, text):\n    # arch: allow-built-sql: a migration\n    await c.execute(text)\n",
    ),
    (sql_rules.built_sql, STORE, "QUERY = Statement('SELECT $a')\nasync def f(c):\n    await c.fetch(*QUERY(a=1))\n"),
    (sql_rules.sql_in_handlers, STORE, "async def f(c):\n    await c.fetchval(QUERY)\n"),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule: Rule) -> None:
    faults = [str(fault) for fault in rule(python_files(*RULES[rule]))]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize(("rule", "path", "text"), PLANTED)
def test_a_planted_fault_is_found(rule: Rule, path: str, text: str) -> None:
    assert list(rule([parsed(path, text)]))


@pytest.mark.parametrize(("rule", "path", "text"), ALLOWED)
def test_what_is_right_passes(rule: Rule, path: str, text: str) -> None:
    assert not list(rule([parsed(path, text)]))


def test_every_rule_has_a_planted_fault() -> None:
    assert {rule for rule, _, _ in PLANTED} == set(RULES)


def test_every_module_that_may_do_what_others_may_not_is_there() -> None:
    listed = (
        code_rules.PROCESS_EDGES,
        code_rules.PACED_LOOPS,
        code_rules.OPEN_TO_CALLABLES,
        code_rules.OPEN_TO_MAPPINGS,
    )
    assert not [path for modules in listed for path in modules if not (ROOT / path).is_file()]


def test_an_allow_comment_works_only_with_a_reason() -> None:
    text = "try:\n    f()\nexcept Exception:  # arch: allow-broad-except\n    pass\n"
    assert list(code_rules.broad_excepts([parsed("shared/new.py", text)]))


def test_allow_comments_name_a_rule_and_a_reason() -> None:
    faults = [str(fault) for file in python_files(*PACKAGES) for fault in allow_comment_faults(file.path, file.text)]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("comment", ["# arch: allow-broad-except", "# arch: allow-everything: because"])
def test_a_bad_allow_comment_is_found(comment: str) -> None:
    assert list(allow_comment_faults("shared/new.py", f"x = 1  {comment}\n"))


@pytest.mark.parametrize("package", [services, shared], ids=["services", "shared"])
def test_the_imported_packages_are_this_repository_s(package: object) -> None:
    """Packages of both names exist elsewhere; importing one of those would test and run somebody else's code."""
    assert getattr(package, "__file__", None) == str(ROOT / package.__name__ / "__init__.py")  # type: ignore[attr-defined]  # it is a module

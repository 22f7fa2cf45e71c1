"""The database: migrations apply once, and every role can touch what is its own and nothing else."""

from pathlib import Path

import asyncpg
import pytest

import services.codes
from shared.database import migrations
from tests.databases import Database

FOLDER = Path(services.codes.__file__).parent / "migrations"
TABLES = """
SELECT n.nspname AS schema_name, c.relname AS name, c.relkind IN ('v', 'm') AS is_view
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
  AND n.nspname NOT LIKE 'pg\\_toast%'
"""
RIGHTS = """
SELECT array_agg(p ORDER BY p) FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES',
                                                 'TRIGGER']) AS p
WHERE has_table_privilege($1::text, $2::text, p) OR (p IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
      AND has_any_column_privilege($1::text, $2::text, p))
"""
CUSTOMER_VIEWS = {f"redemption.customer_{name}_v1" for name in ("jobs", "events", "exports")}
KEY_USES = {"redemption.key_uses_v1", "webhooks.key_uses_v1"}
VIEWS = {
    "mintwire_redemption": {
        *("codes.redeemable_v1", "codes.credential_v1", "codes.tenant_v1", "codes.coupon_v1", "codes.demo_program_v1"),
        *("codes.customer_parts_v1", "codes.customer_lines_v1", "codes.erased_events_v1"),
    },
    "mintwire_webhooks": {
        *("codes.redeemable_v1", "codes.credential_v1", "codes.tenant_v1", "codes.partner_v1"),
        *("codes.erased_events_v1", "codes.demo_program_v1"),
    },
}


async def rights(database: Database, role: str) -> dict[str, list[str]]:
    """Return every table and view on which a role may do anything, with what."""
    connection = await asyncpg.connect(database.admin)
    found = {}
    for row in await connection.fetch(TABLES):
        name = f"{row['schema_name']}.{row['name']}"
        if may := await connection.fetchval(RIGHTS, role, name):
            found[name] = may
    await connection.close()
    return found


async def test_codes_touches_its_own_schema_only_and_rewrites_no_history(database: Database) -> None:
    found = await rights(database, "mintwire_codes")
    assert {name for name in found if not name.startswith("codes.")} == CUSTOMER_VIEWS | KEY_USES
    assert found["codes.quota_ledger"] == ["INSERT", "SELECT"]
    assert found["codes.events"] == ["INSERT", "SELECT"]
    assert found["codes.audit_log"] == ["INSERT", "SELECT"]
    for name in ("programs", "coupons", "partners", "api_keys", "promotion_codes"):
        assert found[f"codes.{name}"] == ["INSERT", "SELECT", "UPDATE"], name


@pytest.mark.parametrize("role", VIEWS)
async def test_other_services_see_the_views_published_for_them_and_nothing_else(database: Database, role: str) -> None:
    found = await rights(database, role)
    of_codes = {name: may for name, may in found.items() if name.startswith("codes.")}
    assert of_codes == {name: ["SELECT"] for name in VIEWS[role]}


async def test_a_role_s_refusal_is_the_server_s_own(database: Database) -> None:
    redemption = await asyncpg.connect(database.redemption)
    assert await redemption.fetch("SELECT * FROM codes.redeemable_v1") == []
    for statement in (
        "SELECT * FROM codes.api_keys",
        "SELECT digest FROM codes.api_keys",
        "UPDATE codes.partners SET status = 'active'",
        "CREATE TABLE codes.mine (id int)",
        "CREATE TABLE public.mine (id int)",
        "CREATE SCHEMA mine",
        "CREATE TEMPORARY TABLE mine (id int)",
        "SELECT codes.purge_audit_log(gen_random_uuid(), now(), 1)",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await redemption.execute(statement)
    await redemption.close()
    codes = await asyncpg.connect(database.codes)
    for statement in (
        "DELETE FROM codes.quota_ledger",
        "UPDATE codes.quota_ledger SET amount = 1",
        "DELETE FROM codes.promotion_codes",
        "DELETE FROM codes.audit_log",
        "UPDATE codes.audit_log SET actor = 'nobody'",
        "TRUNCATE codes.outbox",
        "ALTER TABLE codes.programs ADD COLUMN mine int",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await codes.execute(statement)
    await codes.close()


async def test_migrating_again_changes_nothing(empty_database: Database) -> None:
    async def migrate() -> list[str]:
        return await migrations.migrate(
            empty_database.admin, empty_database.codes, schema="codes", role="mintwire_codes", folder=FOLDER
        )

    assert "codes/0001_initial" in await migrate()
    assert await migrate() == []

"""Each service's role reads and writes its own schema and reads the views published for it, and nothing else."""

import asyncpg
import pytest

from tests.databases import SCHEMAS, Database

# By which the services share the work on customers' exports and erasures.
CUSTOMER_JOBS = {(f"redemption.customer_{name}_v1", "SELECT") for name in ("jobs", "events", "exports")}
CUSTOMER_PARTS = {
    (f"{service}.customer_{name}_v1", "SELECT") for service in ("codes", "webhooks") for name in ("parts", "lines")
}
ERASED_EVENTS = ("codes.erased_events_v1", "SELECT")
PUBLISHED = {
    "dashboard": set(),
    "codes": {
        *(("codes.credential_v1", "SELECT"), ("codes.redeemable_v1", "SELECT"), ERASED_EVENTS, *CUSTOMER_JOBS),
        *((f"{service}.key_uses_v1", "SELECT") for service in ("redemption", "webhooks")),
    },
    "redemption": {
        *(("codes.coupon_v1", "SELECT"), ("codes.credential_v1", "SELECT"), ("codes.redeemable_v1", "SELECT")),
        *(("codes.tenant_v1", "SELECT"), ("codes.demo_program_v1", "SELECT")),
        ERASED_EVENTS,
        *CUSTOMER_PARTS,
    },
    # Only two columns of `redeemable_v1`: see the test about them.
    "webhooks": {
        *(("codes.credential_v1", "SELECT"), ("codes.partner_v1", "SELECT"), ("codes.redeemable_v1", "SELECT")),
        *(("codes.tenant_v1", "SELECT"), ("codes.demo_program_v1", "SELECT")),
        ERASED_EVENTS,
        *CUSTOMER_JOBS,
    },
}
ORDINARY = {"SELECT", "INSERT", "UPDATE", "DELETE"}

PRIVILEGES = """
SELECT n.nspname || '.' || c.relname AS relation, n.nspname AS schema, p.privilege
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) AS p (privilege)
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND (has_table_privilege($1, c.oid, p.privilege)
       OR p.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'REFERENCES')
          AND has_any_column_privilege($1, c.oid, p.privilege))
"""
CREATES = """
SELECT nspname AS place FROM pg_namespace WHERE has_schema_privilege($1, oid, 'CREATE')
UNION ALL
SELECT datname FROM pg_database
WHERE datname = current_database() AND (has_database_privilege($1, oid, 'CREATE')
                                        OR has_database_privilege($1, oid, 'TEMPORARY'))
"""
READABLE_COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND has_column_privilege(attrelid, attnum, 'SELECT')
"""
OWNS = "SELECT count(*) FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner WHERE r.rolname = $1"
ATTRIBUTES = """
SELECT rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls
       OR EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid)
FROM pg_roles r WHERE rolname = $1
"""


async def _outside(connection: "asyncpg.Connection[asyncpg.Record]", service: str) -> set[tuple[str, str]]:
    """Return what the role may do beyond ordinary work in its own schema: relation and privilege."""
    rows = await connection.fetch(PRIVILEGES, f"mintwire_{service}")
    return {
        (row["relation"], row["privilege"])
        for row in rows
        if row["schema"] != service or row["privilege"] not in ORDINARY
    }


@pytest.mark.parametrize("service", SCHEMAS)
async def test_a_role_touches_its_own_schema_and_the_published_views(service: str, database: Database) -> None:
    connection = await asyncpg.connect(database.admin)
    try:
        assert await _outside(connection, service) <= PUBLISHED[service]
        assert [row["place"] for row in await connection.fetch(CREATES, f"mintwire_{service}")] == []
        assert await connection.fetchval(OWNS, f"mintwire_{service}") == 0
        assert await connection.fetchval(ATTRIBUTES, f"mintwire_{service}") is False
    finally:
        await connection.close()


async def test_redemption_can_read_both_views(database: Database) -> None:
    connection = await asyncpg.connect(database.redemption)
    try:
        await connection.execute("SELECT FROM codes.redeemable_v1")
        await connection.execute("SELECT FROM codes.credential_v1")
    finally:
        await connection.close()


async def test_webhooks_sees_no_terms_and_no_codes(database: Database) -> None:
    """What is left of its right on `redeemable_v1` serves processes of an earlier release, and shows ids alone."""
    connection = await asyncpg.connect(database.webhooks)
    try:
        await connection.execute("SELECT FROM codes.partner_v1")
        columns = await connection.fetch(READABLE_COLUMNS, "codes.redeemable_v1")
        for statement in ("SELECT * FROM codes.redeemable_v1", "SELECT code FROM codes.redeemable_v1"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()
    assert {row["attname"] for row in columns} == {"program_id", "partner_id"}


@pytest.mark.parametrize(
    "planted",
    [
        "GRANT SELECT ON codes.api_keys TO mintwire_webhooks",
        "GRANT SELECT (digest) ON codes.api_keys TO mintwire_webhooks",
        "GRANT UPDATE ON redemption.orders TO mintwire_webhooks",
        "GRANT INSERT ON codes.promotion_codes TO PUBLIC",
        "GRANT SELECT ON public.mintwire_migrations TO mintwire_webhooks",
        "GRANT TRUNCATE ON webhooks.endpoints TO mintwire_webhooks",
    ],
)
async def test_a_planted_grant_is_found(planted: str, database: Database) -> None:
    connection = await asyncpg.connect(database.admin)
    try:
        await connection.execute(planted)
        assert not await _outside(connection, "webhooks") <= PUBLISHED["webhooks"]
    finally:
        await connection.close()

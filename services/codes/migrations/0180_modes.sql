-- Test mode. A program, and each of its partners, has a second row: its test tenant, under its own id with one bit set
-- (`shared/modes.py`). Whatever is made by a test key belongs to that row, so all statements keep the modes apart that
-- keep programs apart. Settings are shared: the second row follows the first.

CREATE FUNCTION is_test(id uuid) RETURNS boolean
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN get_byte(uuid_send(id), 8) & 64 <> 0;

CREATE FUNCTION test_id(id uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN encode(set_byte(uuid_send(id), 8, get_byte(uuid_send(id), 8) | 64), 'hex')::uuid;

-- A coupon is an object of one mode; the partner coupon of the test tenant only begins like the live one. Its id differs
-- in the last bit.
CREATE FUNCTION sibling_id(id uuid) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN encode(set_byte(uuid_send(id), 15, get_byte(uuid_send(id), 15) # 1), 'hex')::uuid;

-- How many codes a partner may mint in test mode before the program grants it more.
CREATE FUNCTION test_quota() RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE RETURN 1000;

-- The arguments of the trigger are the columns that each mode has of its own; all others follow, those of later
-- migrations too. Mints change none of them and do not come here.
CREATE FUNCTION mirror_settings() RETURNS trigger
LANGUAGE plpgsql SET search_path = codes, pg_temp AS $$
DECLARE
    names text;
BEGIN
    SELECT string_agg(quote_ident(attname), ', ') INTO names FROM pg_attribute
    WHERE attrelid = TG_RELID AND attnum > 0 AND NOT attisdropped AND attname <> ALL (TG_ARGV);
    EXECUTE format('UPDATE %1$s SET (%2$s) = (SELECT %2$s FROM (SELECT ($1).*) live) WHERE id = test_id(($1).id)',
                   TG_RELID::regclass, names) USING NEW;
    RETURN NULL;
END
$$;

CREATE FUNCTION add_test_program() RETURNS trigger
LANGUAGE plpgsql SET search_path = codes, pg_temp AS $$
BEGIN
    NEW.id := test_id(NEW.id);
    INSERT INTO programs SELECT (NEW).*;
    RETURN NULL;
END
$$;

CREATE FUNCTION add_test_coupon() RETURNS trigger
LANGUAGE plpgsql SET search_path = codes, pg_temp AS $$
BEGIN
    NEW.id := sibling_id(NEW.id);
    NEW.program_id := test_id(NEW.program_id);
    INSERT INTO coupons SELECT (NEW).*;
    RETURN NULL;
END
$$;

CREATE FUNCTION add_test_partner() RETURNS trigger
LANGUAGE plpgsql SET search_path = codes, pg_temp AS $$
DECLARE
    ledger_id uuid := NEW.id;
BEGIN
    NEW.id := test_id(NEW.id);
    NEW.program_id := test_id(NEW.program_id);
    NEW.quota_granted := test_quota();
    NEW.quota_adjusted := 0;
    NEW.quota_minted := 0;
    NEW.quota_refunded := 0;
    INSERT INTO partners SELECT (NEW).*;
    INSERT INTO quota_ledger (id, partner_id, kind, amount, actor, reason, created_at)
    VALUES (ledger_id, NEW.id, 'grant', test_quota(), 'mintwire', 'Test mode', NEW.created_at);
    RETURN NULL;
END
$$;

-- What is there already. Programs and partners are few beside codes.
INSERT INTO programs
SELECT (jsonb_populate_record(g, jsonb_build_object('id', test_id(g.id)))).* FROM programs g;

INSERT INTO coupons
SELECT (jsonb_populate_record(k, jsonb_build_object(
    'id', sibling_id(k.id), 'program_id', test_id(k.program_id), 'times_redeemed', 0, 'times_redeemed_version', 0))).*
FROM coupons k WHERE k.is_partner_coupon;

INSERT INTO partners
SELECT (jsonb_populate_record(p, jsonb_build_object(
    'id', test_id(p.id), 'program_id', test_id(p.program_id), 'quota_granted', test_quota(), 'quota_adjusted', 0,
    'quota_minted', 0, 'quota_refunded', 0))).*
FROM partners p;

INSERT INTO quota_ledger (id, partner_id, kind, amount, actor, reason, created_at)
SELECT p.id, test_id(p.id), 'grant', test_quota(), 'mintwire', 'Test mode', p.created_at
FROM partners p WHERE NOT is_test(p.id);

CREATE TRIGGER programs_test_added AFTER INSERT ON programs
FOR EACH ROW WHEN (NOT is_test(NEW.id)) EXECUTE FUNCTION add_test_program();
CREATE TRIGGER programs_test_mirrored AFTER UPDATE ON programs
FOR EACH ROW WHEN (NOT is_test(NEW.id)) EXECUTE FUNCTION mirror_settings('id');

CREATE TRIGGER coupons_test_added AFTER INSERT ON coupons
FOR EACH ROW WHEN (NEW.is_partner_coupon AND NOT is_test(NEW.program_id)) EXECUTE FUNCTION add_test_coupon();

CREATE TRIGGER partners_test_added AFTER INSERT ON partners
FOR EACH ROW WHEN (NOT is_test(NEW.id)) EXECUTE FUNCTION add_test_partner();
-- Every change of settings sets this column, and no mint does.
CREATE TRIGGER partners_test_mirrored AFTER UPDATE OF updated_at ON partners
FOR EACH ROW WHEN (NOT is_test(NEW.id)) EXECUTE FUNCTION mirror_settings(
    'id', 'program_id', 'quota_granted', 'quota_adjusted', 'quota_minted', 'quota_refunded');

-- Statistics that are added up: a statement that writes redemptions or refusals appends by how much it changes the figures,
-- in its own transaction, and a periodic task adds that to them. Counting a quarter of an hour again from its facts took
-- longer the more facts it has. By triggers, so that nothing that writes facts can forget it, nor can processes of the
-- release before.
--
-- No release has read or written the tables that these replace.
DROP VIEW stats_facts;
DROP TABLE stats, stats_touched, stats_kinds, stats_walks;

CREATE TABLE stats_changes (
    program_id uuid NOT NULL,
    quarter timestamptz NOT NULL,
    partner_id uuid,
    coupon_id uuid,
    currency text,
    reason text,
    redemptions bigint NOT NULL,
    discount_minor bigint NOT NULL,
    commission_minor bigint NOT NULL,
    voids bigint NOT NULL,
    voided_discount_minor bigint NOT NULL,
    voided_commission_minor bigint NOT NULL,
    refusals bigint NOT NULL
);
CREATE INDEX stats_changes_quarter ON stats_changes (program_id, quarter);

-- By quarters of an hour, hours and six hours of UTC (`level` 0, 1, 2), so that 90 days read a few hundred rows. `slice`
-- says by what a row is apart: 1 the coupon, 2 the partner, 4 the reason, and their sums.
CREATE TABLE stats_totals (
    program_id uuid NOT NULL,
    slice smallint NOT NULL,
    level smallint NOT NULL,
    at timestamptz NOT NULL,
    partner_id uuid,
    coupon_id uuid,
    currency text,
    reason text,
    redemptions bigint NOT NULL,
    discount_minor bigint NOT NULL,
    commission_minor bigint NOT NULL,
    voids bigint NOT NULL,
    voided_discount_minor bigint NOT NULL,
    voided_commission_minor bigint NOT NULL,
    refusals bigint NOT NULL
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX stats_totals_once ON stats_totals (
    program_id, slice, level, at, (coalesce(partner_id, '00000000-0000-0000-0000-000000000000')),
    (coalesce(coupon_id, '00000000-0000-0000-0000-000000000000')), (coalesce(currency, '')), (coalesce(reason, '')));
CREATE INDEX stats_totals_partner ON stats_totals (program_id, partner_id, slice, level, at) WHERE partner_id IS NOT NULL;
CREATE INDEX stats_totals_coupon ON stats_totals (program_id, coupon_id, slice, level, at) WHERE coupon_id IS NOT NULL;

-- Whoever adds up holds its one row; null until what there was before is added up.
CREATE TABLE stats_rounds (added_up_at timestamptz);
INSERT INTO stats_rounds VALUES (NULL);

GRANT SELECT, INSERT, DELETE ON stats_changes TO mintwire_redemption;
GRANT SELECT, INSERT, UPDATE ON stats_totals TO mintwire_redemption;
GRANT SELECT, UPDATE ON stats_rounds TO mintwire_redemption;

-- A void counts in the quarter in which it happened, with what it takes back as it is now.
CREATE FUNCTION count_made_redemptions() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO redemption.stats_changes (
        program_id, quarter, partner_id, coupon_id, currency, redemptions, discount_minor, commission_minor, voids,
        voided_discount_minor, voided_commission_minor, refusals)
    SELECT r.program_id, date_bin('15 minutes', f.at, 'epoch'), r.partner_id, r.coupon_id, r.currency,
           sum(f.made), coalesce(sum(f.made * r.discount_minor), 0), coalesce(sum(f.made * r.commission_minor), 0),
           sum(f.void), coalesce(sum(f.void * r.discount_minor), 0), coalesce(sum(f.void * r.commission_minor), 0), 0
    FROM changed r CROSS JOIN LATERAL (VALUES (r.occurred_at, 1, 0), (r.voided_at, 0, 1)) AS f (at, made, void)
    WHERE f.at IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5;
    RETURN NULL;
END
$function$;
CREATE FUNCTION count_changed_redemptions() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO redemption.stats_changes (
        program_id, quarter, partner_id, coupon_id, currency, redemptions, discount_minor, commission_minor, voids,
        voided_discount_minor, voided_commission_minor, refusals)
    SELECT r.program_id, date_bin('15 minutes', f.at, 'epoch'), r.partner_id, r.coupon_id, r.currency,
           sum(f.made), coalesce(sum(f.made * r.discount_minor), 0), coalesce(sum(f.made * r.commission_minor), 0),
           sum(f.void), coalesce(sum(f.void * r.discount_minor), 0), coalesce(sum(f.void * r.commission_minor), 0), 0
    FROM (SELECT 1 AS sign, program_id, occurred_at, voided_at, partner_id, coupon_id, currency, discount_minor,
                 commission_minor FROM changed
          UNION ALL
          SELECT -1, program_id, occurred_at, voided_at, partner_id, coupon_id, currency, discount_minor,
                 commission_minor FROM was) AS r
    CROSS JOIN LATERAL (VALUES (r.occurred_at, r.sign, 0), (r.voided_at, 0, r.sign)) AS f (at, made, void)
    WHERE f.at IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5
    HAVING sum(f.made) <> 0 OR sum(f.made * r.discount_minor) <> 0 OR sum(f.made * r.commission_minor) <> 0
        OR sum(f.void) <> 0 OR sum(f.void * r.discount_minor) <> 0 OR sum(f.void * r.commission_minor) <> 0;
    RETURN NULL;
END
$function$;
CREATE FUNCTION count_made_rejections() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO redemption.stats_changes (
        program_id, quarter, partner_id, coupon_id, reason, redemptions, discount_minor, commission_minor, voids,
        voided_discount_minor, voided_commission_minor, refusals)
    SELECT program_id, date_bin('15 minutes', occurred_at, 'epoch'), partner_id, coupon_id, reason, 0, 0, 0, 0, 0, 0,
           sum(times)
    FROM changed GROUP BY 1, 2, 3, 4, 5;
    RETURN NULL;
END
$function$;
CREATE FUNCTION count_changed_rejections() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO redemption.stats_changes (
        program_id, quarter, partner_id, coupon_id, reason, redemptions, discount_minor, commission_minor, voids,
        voided_discount_minor, voided_commission_minor, refusals)
    SELECT program_id, date_bin('15 minutes', occurred_at, 'epoch'), partner_id, coupon_id, reason, 0, 0, 0, 0, 0, 0,
           sum(times)
    FROM (SELECT program_id, occurred_at, partner_id, coupon_id, reason, times FROM changed
          UNION ALL SELECT program_id, occurred_at, partner_id, coupon_id, reason, -times FROM was) AS r
    GROUP BY 1, 2, 3, 4, 5 HAVING sum(times) <> 0;
    RETURN NULL;
END
$function$;

CREATE TRIGGER count_made_redemptions AFTER INSERT ON redemptions
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_made_redemptions();
CREATE TRIGGER count_changed_redemptions AFTER UPDATE ON redemptions
    REFERENCING OLD TABLE AS was NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changed_redemptions();
CREATE TRIGGER count_made_rejections AFTER INSERT ON rejections
    REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_made_rejections();
CREATE TRIGGER count_changed_rejections AFTER UPDATE ON rejections
    REFERENCING OLD TABLE AS was NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changed_rejections();

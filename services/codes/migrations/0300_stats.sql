-- Statistics of codes: how many were minted, by the quarter of an hour of UTC in which each was made, and how many of
-- those were redeemed. Quarters, so that the days of every time zone are whole.
--
-- A statement that makes or changes codes appends by how much it changes the figures, in its own transaction; a periodic
-- task adds these up. Counting again from the codes would not do: a batch makes millions within one quarter, and each of
-- them may be redeemed at any time. By triggers, so that nothing that writes codes can forget it, nor can processes of the
-- release before.
CREATE TABLE stats_changes (
    program_id uuid NOT NULL,
    quarter timestamptz NOT NULL,
    partner_id uuid,
    coupon_id uuid NOT NULL,
    minted bigint NOT NULL,
    redeemed bigint NOT NULL
);
CREATE INDEX stats_changes_quarter ON stats_changes (program_id, quarter);

-- `slice` says by what a row is apart: 1 the coupon, 2 the partner, 3 both. So a total reads no more rows than there are
-- quarters, however many partners and coupons there are.
CREATE TABLE stats (
    program_id uuid NOT NULL,
    quarter timestamptz NOT NULL,
    slice smallint NOT NULL,
    partner_id uuid,
    coupon_id uuid,
    minted bigint NOT NULL,
    redeemed bigint NOT NULL
);
CREATE INDEX stats_quarter ON stats (program_id, slice, quarter);
CREATE INDEX stats_partner ON stats (program_id, partner_id, slice, quarter) WHERE partner_id IS NOT NULL;
CREATE INDEX stats_coupon ON stats (program_id, coupon_id, slice, quarter) WHERE coupon_id IS NOT NULL;

-- Whoever adds up holds its one row.
CREATE TABLE stats_rounds (added_up_at timestamptz NOT NULL);
INSERT INTO stats_rounds VALUES (now());

GRANT SELECT, INSERT, DELETE ON stats, stats_changes TO mintwire_codes;
GRANT SELECT, UPDATE ON stats_rounds TO mintwire_codes;

CREATE FUNCTION count_made_codes() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO codes.stats_changes (program_id, quarter, partner_id, coupon_id, minted, redeemed)
    SELECT program_id, date_bin('15 minutes', created_at, 'epoch'), partner_id, coupon_id, count(*),
           count(*) FILTER (WHERE times_redeemed > 0)
    FROM made GROUP BY 1, 2, 3, 4;
    RETURN NULL;
END
$function$;
CREATE FUNCTION count_changed_codes() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO codes.stats_changes (program_id, quarter, partner_id, coupon_id, minted, redeemed)
    SELECT program_id, date_bin('15 minutes', created_at, 'epoch'), partner_id, coupon_id, sum(minted), sum(redeemed)
    FROM (
        SELECT x.program_id, x.created_at, x.partner_id, x.coupon_id, x.minted, x.redeemed
        FROM was o JOIN changed n ON n.id = o.id
        CROSS JOIN LATERAL (VALUES
            (n.program_id, n.created_at, n.partner_id, n.coupon_id, 1, (n.times_redeemed > 0)::int),
            (o.program_id, o.created_at, o.partner_id, o.coupon_id, -1, -(o.times_redeemed > 0)::int)
        ) AS x (program_id, created_at, partner_id, coupon_id, minted, redeemed)
        WHERE n.partner_id IS DISTINCT FROM o.partner_id OR n.coupon_id <> o.coupon_id
           OR (n.times_redeemed > 0) <> (o.times_redeemed > 0)) x
    GROUP BY 1, 2, 3, 4 HAVING sum(minted) <> 0 OR sum(redeemed) <> 0;
    RETURN NULL;
END
$function$;
CREATE TRIGGER count_made_codes AFTER INSERT ON promotion_codes
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION count_made_codes();
CREATE TRIGGER count_changed_codes AFTER UPDATE ON promotion_codes
    REFERENCING OLD TABLE AS was NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changed_codes();

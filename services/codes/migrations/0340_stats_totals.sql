-- Statistics of codes by quarters of an hour, hours and six hours of UTC (`level` 0, 1, 2), so that 90 days read a few
-- hundred rows. A change is added to the rows that it concerns; no row is replaced for another one's sake.
--
-- No release has read or written the table that this one replaces.
CREATE TABLE stats_totals (
    program_id uuid NOT NULL,
    slice smallint NOT NULL,
    level smallint NOT NULL,
    at timestamptz NOT NULL,
    partner_id uuid,
    coupon_id uuid,
    minted bigint NOT NULL,
    redeemed bigint NOT NULL
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX stats_totals_once ON stats_totals (
    program_id, slice, level, at, (coalesce(partner_id, '00000000-0000-0000-0000-000000000000')),
    (coalesce(coupon_id, '00000000-0000-0000-0000-000000000000')));
CREATE INDEX stats_totals_partner ON stats_totals (program_id, partner_id, slice, level, at) WHERE partner_id IS NOT NULL;
CREATE INDEX stats_totals_coupon ON stats_totals (program_id, coupon_id, slice, level, at) WHERE coupon_id IS NOT NULL;
GRANT SELECT, INSERT, UPDATE ON stats_totals TO mintwire_codes;

-- What was counted before is a change like any other; until it is added up, nothing is known to be whole.
LOCK TABLE stats_rounds IN ACCESS EXCLUSIVE MODE;
ALTER TABLE stats_rounds ALTER COLUMN added_up_at DROP NOT NULL;
UPDATE stats_rounds SET added_up_at = NULL;
INSERT INTO stats_changes (program_id, quarter, partner_id, coupon_id, minted, redeemed)
SELECT program_id, quarter, partner_id, coupon_id, minted, redeemed FROM stats WHERE slice = 3;
DROP TABLE stats;

-- What there is already, in one statement and so one snapshot: the codes, and in exchange what was noted of them since the
-- triggers are there. What is noted later is added as ever. Nothing is locked but that.
SELECT FROM stats_rounds FOR UPDATE;
WITH noted AS (
    DELETE FROM stats_changes
)
INSERT INTO stats (program_id, quarter, slice, partner_id, coupon_id, minted, redeemed)
SELECT program_id, date_bin('15 minutes', created_at, 'epoch'), 3 - GROUPING(partner_id, coupon_id), partner_id, coupon_id,
       count(*), count(*) FILTER (WHERE times_redeemed > 0)
FROM promotion_codes GROUP BY 1, 2, CUBE (partner_id, coupon_id);

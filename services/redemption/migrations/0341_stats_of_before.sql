-- What there is already, in one statement and so one snapshot: the facts, and in exchange what was noted of them since the
-- triggers are there. It is added up like any other change. Nothing is locked.
WITH noted AS (
    DELETE FROM stats_changes
)
INSERT INTO stats_changes (
    program_id, quarter, partner_id, coupon_id, currency, reason, redemptions, discount_minor, commission_minor, voids,
    voided_discount_minor, voided_commission_minor, refusals)
SELECT r.program_id, date_bin('15 minutes', f.at, 'epoch'), r.partner_id, r.coupon_id, r.currency, NULL,
       sum(f.made), coalesce(sum(f.made * r.discount_minor), 0), coalesce(sum(f.made * r.commission_minor), 0),
       sum(f.void), coalesce(sum(f.void * r.discount_minor), 0), coalesce(sum(f.void * r.commission_minor), 0), 0
FROM redemptions r CROSS JOIN LATERAL (VALUES (r.occurred_at, 1, 0), (r.voided_at, 0, 1)) AS f (at, made, void)
WHERE f.at IS NOT NULL
GROUP BY 1, 2, 3, 4, 5
UNION ALL
SELECT program_id, date_bin('15 minutes', occurred_at, 'epoch'), partner_id, coupon_id, NULL, reason, 0, 0, 0, 0, 0, 0,
       sum(times)
FROM rejections GROUP BY 1, 2, 3, 4, 6;

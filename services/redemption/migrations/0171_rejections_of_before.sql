-- Refusals of before are found by code and partner too; for this once as `shared.canonical` has it, within ASCII.
UPDATE rejections
SET canonical = translate(upper(regexp_replace(normalize(code, NFKC), '[\s_-]+', '', 'g')), 'OIL', '011')
WHERE canonical IS NULL;
DO $$
BEGIN
    IF to_regclass('codes.redeemable_v1') IS NOT NULL THEN
        UPDATE rejections r SET partner_id = v.partner_id
        FROM codes.redeemable_v1 v WHERE v.code_id = r.code_id AND v.partner_id IS NOT NULL;
    END IF;
END
$$;

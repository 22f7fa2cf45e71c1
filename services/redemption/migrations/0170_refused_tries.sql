-- Refused tries of every door. Those over HTTP are one row per order, code and reason, in which repeats raise `times`;
-- `occurred_at` is the first of them and `last_occurred_at` the last. `canonical` is what a code is looked for by: the
-- text itself where it cannot be one. The defaults are what the code of before means by its rows.
ALTER TABLE rejections
    ADD COLUMN door text NOT NULL DEFAULT 'event' CHECK (door IN ('event', 'redemption', 'reservation')),
    ADD COLUMN times bigint NOT NULL DEFAULT 1 CHECK (times > 0),
    ADD COLUMN last_occurred_at timestamptz,
    ADD COLUMN canonical text,
    ADD COLUMN partner_id uuid;
GRANT UPDATE (times, last_occurred_at) ON rejections TO mintwire_redemption;

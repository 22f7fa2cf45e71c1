-- A customer is its id and its mailbox. Redemptions and holds keep both; `mailbox_key` is that of one with an id, for others
-- `customer_key` is the mailbox.
ALTER TABLE redemptions ADD COLUMN mailbox_key text;
ALTER TABLE holds ADD COLUMN mailbox_key text;

-- As `domain.customers.mailbox` has it, for this once; beyond ASCII the two may differ in case.
CREATE FUNCTION pg_temp.mailbox(email text) RETURNS text LANGUAGE sql IMMUTABLE AS $function$
    WITH address AS (
        SELECT lower(btrim(normalize(email, NFKC), E' \t\n\r\f\v')) AS email
    ), parts AS (
        SELECT position('@' in email) > 0 AS has_at, rtrim(regexp_replace(email, '^.*@', ''), '.') AS domain,
               CASE WHEN position('@' in email) > 0 THEN regexp_replace(email, '@[^@]*$', '') ELSE '' END AS local
        FROM address
    ), unquoted AS (
        SELECT has_at, CASE WHEN domain = 'googlemail.com' THEN 'gmail.com' ELSE domain END AS domain,
               CASE WHEN local ~ '^".*"$' AND length(local) > 1 THEN substr(local, 2, length(local) - 2) ELSE local END
                   AS local
        FROM parts
    ), untagged AS (
        SELECT has_at, domain, coalesce(nullif(split_part(local, '+', 1), ''), local) AS local FROM unquoted
    )
    SELECT CASE WHEN domain = 'gmail.com' THEN coalesce(nullif(replace(local, '.', ''), ''), local) ELSE local END
        || CASE WHEN has_at THEN '@' ELSE '' END || domain
    FROM untagged
$function$;

-- Mailboxes of before were compared with quotes, dots and both of Google's domains.
UPDATE redemptions SET customer_key = 'email:' || pg_temp.mailbox(substr(customer_key, 7))
WHERE customer_key LIKE 'email:%' AND customer_key <> 'email:' || pg_temp.mailbox(substr(customer_key, 7));
UPDATE holds SET customer_key = 'email:' || pg_temp.mailbox(substr(customer_key, 7))
WHERE customer_key LIKE 'email:%' AND customer_key <> 'email:' || pg_temp.mailbox(substr(customer_key, 7));

-- The mailboxes of those with an id are in the history of events only, as far back as it is kept.
UPDATE redemptions r SET mailbox_key = 'email:' || pg_temp.mailbox(told.email)
FROM (
    SELECT (data ->> 'redemption_id')::uuid AS id, data -> 'customer' ->> 'email' AS email
    FROM (SELECT convert_from(body, 'UTF8')::json -> 'data' AS data FROM events WHERE type = 'code.redeemed') e
) told
WHERE r.id = told.id AND r.customer_key LIKE 'id:%' AND btrim(told.email) <> '';

-- no transaction: built beside live traffic. The partners' bodies that show too much, to be made anew; empty once that is done.
CREATE INDEX CONCURRENTLY messages_unlisted ON messages (id, format)
    WHERE event_type IN ('code.redemption_rejected', 'code.redemption_voided') AND partner_id IS NOT NULL
        AND (format = 'flat' OR format LIKE '%-partner') AND lists_version IS NULL;

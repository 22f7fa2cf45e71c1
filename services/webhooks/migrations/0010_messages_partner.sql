-- no transaction: built beside live traffic. What a partner's list of messages goes by; it holds only what the partner sees.
CREATE INDEX CONCURRENTLY messages_partner ON messages (partner_id, created_at, id)
    WHERE partner_id IS NOT NULL AND (format = 'flat' OR format LIKE '%-partner');

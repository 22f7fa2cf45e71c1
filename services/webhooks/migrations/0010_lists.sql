-- Lists that go by an index of their own: a partner's messages, and a program's endpoints with the archived ones, whose
-- deliveries stay readable.
CREATE INDEX messages_partner ON messages (partner_id, created_at, id)
    WHERE partner_id IS NOT NULL AND (format = 'flat' OR format LIKE '%-partner');
CREATE INDEX endpoints_all ON endpoints (program_id, id);

-- Statistics of messages, deliveries and attempts. A statement that writes them appends by how much it changes the figures,
-- in its own transaction; a periodic task adds that to them. By triggers, so that nothing that writes facts can forget it,
-- nor can processes of the release before.
CREATE TABLE stats_changes (
    program_id uuid NOT NULL,
    quarter timestamptz NOT NULL,
    partner_id uuid,
    endpoint_id uuid,
    event_type text NOT NULL,
    reason text,
    messages bigint NOT NULL DEFAULT 0,
    deliveries bigint NOT NULL DEFAULT 0,
    succeeded bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    dead bigint NOT NULL DEFAULT 0,
    canceled bigint NOT NULL DEFAULT 0,
    answers_2xx bigint NOT NULL DEFAULT 0,
    answers_3xx bigint NOT NULL DEFAULT 0,
    answers_4xx bigint NOT NULL DEFAULT 0,
    answers_5xx bigint NOT NULL DEFAULT 0,
    unanswered bigint NOT NULL DEFAULT 0,
    first_tries bigint NOT NULL DEFAULT 0,
    first_successes bigint NOT NULL DEFAULT 0,
    durations numeric NOT NULL DEFAULT 0
);
CREATE INDEX stats_changes_quarter ON stats_changes (program_id, quarter);

-- By quarters of an hour, hours and six hours of UTC (`level` 0, 1, 2). `slice` says by what a row is apart: 1 the endpoint,
-- 2 the partner, 4 the event type, 8 the reason, and their sums; an endpoint never without its partner.
--
-- `durations` is a histogram in one number, so that histograms are added like any other figure: of each class twelve decimal
-- digits, the shortest in the last ones. Each class is a tenth longer than the one before.
CREATE TABLE stats_totals (
    program_id uuid NOT NULL,
    slice smallint NOT NULL,
    level smallint NOT NULL,
    at timestamptz NOT NULL,
    partner_id uuid,
    endpoint_id uuid,
    event_type text,
    reason text,
    messages bigint NOT NULL,
    deliveries bigint NOT NULL,
    succeeded bigint NOT NULL,
    failed bigint NOT NULL,
    dead bigint NOT NULL,
    canceled bigint NOT NULL,
    answers_2xx bigint NOT NULL,
    answers_3xx bigint NOT NULL,
    answers_4xx bigint NOT NULL,
    answers_5xx bigint NOT NULL,
    unanswered bigint NOT NULL,
    first_tries bigint NOT NULL,
    first_successes bigint NOT NULL,
    durations numeric NOT NULL
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX stats_totals_once ON stats_totals (
    program_id, slice, level, at, (coalesce(partner_id, '00000000-0000-0000-0000-000000000000')),
    (coalesce(endpoint_id, '00000000-0000-0000-0000-000000000000')), (coalesce(event_type, '')), (coalesce(reason, '')));
CREATE INDEX stats_totals_partner ON stats_totals (program_id, partner_id, slice, level, at) WHERE partner_id IS NOT NULL;
CREATE INDEX stats_totals_endpoint ON stats_totals (endpoint_id, slice, level, at) WHERE endpoint_id IS NOT NULL;

-- Whoever adds up holds its one row; null until what there was before is added up.
CREATE TABLE stats_rounds (added_up_at timestamptz);
INSERT INTO stats_rounds VALUES (NULL);

GRANT SELECT, INSERT, DELETE ON stats_changes TO mintwire_webhooks;
GRANT SELECT, INSERT, UPDATE ON stats_totals TO mintwire_webhooks;
GRANT SELECT, UPDATE ON stats_rounds TO mintwire_webhooks;

-- A duration as a histogram of one. The last class is that of 92 seconds; no attempt takes longer.
CREATE FUNCTION histogram_of(duration_ms integer) RETURNS numeric LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN trunc(10::numeric ^ (12 * least(120, floor(ln(greatest(1, duration_ms)::float8) / ln(1.1::float8))::integer)));

-- A message has a row for each of its forms. It counts once, when it is first stored, and for its partner if there is a form
-- that the partner may see. Looked up one by one (OFFSET 0), however small the table looks.
CREATE FUNCTION count_made_messages() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO webhooks.stats_changes (program_id, quarter, partner_id, event_type, messages)
    SELECT m.program_id, date_bin('15 minutes', a.created_at, 'epoch'), x.partner_id, m.event_type, sum(x.number)
    FROM (SELECT id, program_id, partner_id, event_type, count(*) AS forms,
                 count(*) FILTER (WHERE format = 'flat' OR format LIKE '%-partner') AS shown
          FROM made GROUP BY 1, 2, 3, 4) AS m
    CROSS JOIN LATERAL (
        SELECT min(created_at) AS created_at, count(*) AS forms,
               count(*) FILTER (WHERE format = 'flat' OR format LIKE '%-partner') AS shown
        FROM webhooks.messages WHERE id = m.id OFFSET 0) AS a
    CROSS JOIN LATERAL (VALUES
        (CASE WHEN a.shown > 0 THEN m.partner_id END, 1),
        (CASE WHEN a.shown > m.shown THEN m.partner_id END, CASE WHEN a.forms > m.forms THEN -1 ELSE 0 END)
    ) AS x (partner_id, number)
    GROUP BY 1, 2, 3, 4 HAVING sum(x.number) <> 0;
    RETURN NULL;
END
$function$;

-- A delivery counts when it was created, with its status as it is now.
CREATE FUNCTION count_made_deliveries() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO webhooks.stats_changes (program_id, quarter, partner_id, endpoint_id, event_type, deliveries, succeeded,
                                        failed, dead, canceled)
    SELECT e.program_id, d.quarter, e.partner_id, d.endpoint_id, d.event_type, d.deliveries, d.succeeded, d.failed,
           d.dead, d.canceled
    FROM (SELECT endpoint_id, event_type, date_bin('15 minutes', created_at, 'epoch') AS quarter, count(*) AS deliveries,
                 count(*) FILTER (WHERE status = 'succeeded') AS succeeded,
                 count(*) FILTER (WHERE status = 'failed') AS failed, count(*) FILTER (WHERE status = 'dead') AS dead,
                 count(*) FILTER (WHERE status = 'canceled') AS canceled
          FROM made GROUP BY 1, 2, 3) AS d
    CROSS JOIN LATERAL (
        SELECT program_id, partner_id FROM webhooks.endpoints WHERE id = d.endpoint_id OFFSET 0) AS e;
    RETURN NULL;
END
$function$;
CREATE FUNCTION count_changed_deliveries() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO webhooks.stats_changes (program_id, quarter, partner_id, endpoint_id, event_type, succeeded, failed, dead,
                                        canceled)
    SELECT e.program_id, d.quarter, e.partner_id, d.endpoint_id, d.event_type, d.succeeded, d.failed, d.dead, d.canceled
    FROM (SELECT endpoint_id, event_type, date_bin('15 minutes', created_at, 'epoch') AS quarter,
                 sum((status = 'succeeded')::int * sign) AS succeeded, sum((status = 'failed')::int * sign) AS failed,
                 sum((status = 'dead')::int * sign) AS dead, sum((status = 'canceled')::int * sign) AS canceled
          FROM (SELECT endpoint_id, event_type, created_at, status, 1 AS sign FROM changed WHERE status <> 'pending'
                UNION ALL
                SELECT endpoint_id, event_type, created_at, status, -1 FROM was WHERE status <> 'pending') AS each
          GROUP BY 1, 2, 3) AS d
    CROSS JOIN LATERAL (
        SELECT program_id, partner_id FROM webhooks.endpoints WHERE id = d.endpoint_id OFFSET 0) AS e
    WHERE d.succeeded <> 0 OR d.failed <> 0 OR d.dead <> 0 OR d.canceled <> 0;
    RETURN NULL;
END
$function$;

-- An attempt counts when it started; apart by why it failed, if it did.
CREATE FUNCTION count_made_attempts() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    INSERT INTO webhooks.stats_changes (program_id, quarter, partner_id, endpoint_id, event_type, reason, answers_2xx,
                                        answers_3xx, answers_4xx, answers_5xx, unanswered, first_tries, first_successes,
                                        durations)
    SELECT e.program_id, a.quarter, e.partner_id, a.endpoint_id, a.event_type, a.reason, a.answers_2xx, a.answers_3xx,
           a.answers_4xx, a.answers_5xx, a.unanswered, a.first_tries, a.first_successes, a.durations
    FROM (SELECT d.endpoint_id, d.event_type, date_bin('15 minutes', m.started_at, 'epoch') AS quarter,
                 CASE WHEN m.status IS NULL THEN coalesce(m.error_code, 'unknown')
                      WHEN m.status NOT BETWEEN 200 AND 299 THEN 'http_' || m.status END AS reason,
                 count(*) FILTER (WHERE m.status BETWEEN 200 AND 299) AS answers_2xx,
                 count(*) FILTER (WHERE m.status < 200 OR m.status BETWEEN 300 AND 399) AS answers_3xx,
                 count(*) FILTER (WHERE m.status BETWEEN 400 AND 499) AS answers_4xx,
                 count(*) FILTER (WHERE m.status >= 500) AS answers_5xx,
                 count(*) FILTER (WHERE m.status IS NULL) AS unanswered,
                 count(*) FILTER (WHERE m.number = 1) AS first_tries,
                 count(*) FILTER (WHERE m.number = 1 AND m.status BETWEEN 200 AND 299) AS first_successes,
                 coalesce(sum(webhooks.histogram_of(m.duration_ms)) FILTER (WHERE m.status IS NOT NULL), 0) AS durations
          FROM made m
          CROSS JOIN LATERAL (
              SELECT endpoint_id, event_type FROM webhooks.deliveries WHERE id = m.delivery_id OFFSET 0) AS d
          GROUP BY 1, 2, 3, 4) AS a
    CROSS JOIN LATERAL (
        SELECT program_id, partner_id FROM webhooks.endpoints WHERE id = a.endpoint_id OFFSET 0) AS e;
    RETURN NULL;
END
$function$;

CREATE TRIGGER count_made_messages AFTER INSERT ON messages
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION count_made_messages();
CREATE TRIGGER count_made_deliveries AFTER INSERT ON deliveries
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION count_made_deliveries();
CREATE TRIGGER count_changed_deliveries AFTER UPDATE ON deliveries
    REFERENCING OLD TABLE AS was NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION count_changed_deliveries();
CREATE TRIGGER count_made_attempts AFTER INSERT ON attempts
    REFERENCING NEW TABLE AS made FOR EACH STATEMENT EXECUTE FUNCTION count_made_attempts();

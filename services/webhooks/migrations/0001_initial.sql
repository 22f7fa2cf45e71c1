-- Endpoints with their signing keys, messages with frozen bodies, deliveries, the small queue of live work, attempts,
-- dead letters, and replays.

GRANT USAGE ON SCHEMA webhooks TO mintwire_webhooks;

-- `version` changes with everything that a sender has to know: a process that holds older facts loads them anew.
CREATE TABLE endpoints (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL,
    partner_id uuid,
    owner_id uuid NOT NULL GENERATED ALWAYS AS (coalesce(partner_id, program_id)) STORED,
    url text NOT NULL CHECK (length(url) BETWEEN 1 AND 2048),
    event_types text[] NOT NULL CHECK (cardinality(event_types) BETWEEN 1 AND 100),
    format text NOT NULL CHECK (format IN ('flat', 'standard', 'thin', 'cloudevents')),
    signing text NOT NULL DEFAULT 'hmac' CHECK (signing IN ('hmac', 'ed25519', 'both')),
    description text,
    metadata jsonb NOT NULL DEFAULT '{}',
    -- Custom headers lie open and are shown; of what authenticates us to the receiver `auth` tells what may be shown.
    headers jsonb NOT NULL DEFAULT '{}',
    auth jsonb,
    sealed_auth bytea,
    status text NOT NULL CHECK (status IN ('active', 'paused', 'disabled')),
    disabled_reason text,
    paused_until timestamptz,
    timeout_seconds smallint NOT NULL DEFAULT 15 CHECK (timeout_seconds BETWEEN 5 AND 30),
    max_in_flight smallint NOT NULL CHECK (max_in_flight BETWEEN 1 AND 100),
    rate_limit_per_second integer CHECK (rate_limit_per_second BETWEEN 1 AND 10000),
    -- Seconds before each retry; null is the usual schedule.
    schedule integer[] CHECK (
        cardinality(schedule) BETWEEN 1 AND 20 AND 1 <= ALL (schedule) AND 172800 >= ALL (schedule)),
    ordering text NOT NULL DEFAULT 'none' CHECK (ordering IN ('none', 'key', 'strict')),
    on_exhausted text NOT NULL DEFAULT 'skip' CHECK (on_exhausted IN ('block', 'skip')),
    -- Health, as the dispatcher has found it; `resume_at` is when a resting or broken receiver may be tried again.
    resume_at timestamptz,
    breaker text NOT NULL DEFAULT 'closed' CHECK (breaker IN ('closed', 'open', 'half_open')),
    breaker_trips smallint NOT NULL DEFAULT 0,
    failing_since timestamptz,
    last_success_at timestamptz,
    last_failure_at timestamptz,
    warned_level smallint NOT NULL DEFAULT 0,
    -- Set where no POST is made: a listener fetches its messages itself, until it has not been heard of for a while.
    -- Its status is `paused`, so that no claim of the dispatcher takes them.
    listens_until timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz,
    CHECK ((status = 'disabled') = (disabled_reason IS NOT NULL)),
    CHECK (listens_until IS NULL OR status = 'paused')
) WITH (fillfactor = 70);
CREATE INDEX endpoints_owner ON endpoints (owner_id) WHERE archived_at IS NULL;
CREATE INDEX endpoints_program ON endpoints (program_id, id) WHERE archived_at IS NULL;
CREATE INDEX endpoints_paused ON endpoints (paused_until) WHERE paused_until IS NOT NULL AND archived_at IS NULL;
CREATE INDEX endpoints_listening ON endpoints (listens_until) WHERE listens_until IS NOT NULL AND archived_at IS NULL;

-- When the bucket of an endpoint with a rate limit will be full again; each delivery that is claimed moves it on.
CREATE TABLE endpoint_rates (
    endpoint_id uuid PRIMARY KEY,
    full_at timestamptz NOT NULL
) WITH (fillfactor = 50);

-- `sealed_secret` holds the secret of HMAC, or the seed of the ed25519 key whose public half lies beside it.
CREATE TABLE endpoint_keys (
    id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES endpoints,
    algorithm text NOT NULL DEFAULT 'hmac' CHECK (algorithm IN ('hmac', 'ed25519')),
    sealed_secret bytea NOT NULL,
    public_key bytea,
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    CHECK ((algorithm = 'ed25519') = (public_key IS NOT NULL))
);
CREATE INDEX endpoint_keys_endpoint ON endpoint_keys (endpoint_id, id);

-- The last number that was given to a delivery of an owner's endpoints (`webhook-sequence`).
CREATE TABLE sequences (
    owner_id uuid PRIMARY KEY,
    last bigint NOT NULL
) WITH (fillfactor = 50);

-- One row per event and format; `body` is what goes over the wire, byte for byte, until it is redacted. `content` is
-- the event in full where the body is not: what a thin message refers to.
CREATE TABLE messages (
    id uuid NOT NULL,
    format text NOT NULL,
    program_id uuid NOT NULL,
    partner_id uuid,
    event_type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    body bytea,
    content bytea,
    created_at timestamptz NOT NULL,
    redacted_at timestamptz,
    PRIMARY KEY (id, format),
    CHECK ((body IS NULL) = (redacted_at IS NOT NULL))
);
CREATE INDEX messages_program ON messages (program_id, created_at);

-- No index holds a column that a result changes, so that results are updates in place.
CREATE TABLE deliveries (
    id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL,
    message_id uuid NOT NULL,
    format text NOT NULL,
    event_type text NOT NULL,
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'succeeded', 'failed', 'dead', 'canceled')),
    attempts_made integer NOT NULL DEFAULT 0,
    last_status smallint,
    last_error_code text,
    sequence bigint,
    replay_id uuid,
    created_at timestamptz NOT NULL,
    completed_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX deliveries_endpoint ON deliveries (endpoint_id, id);
CREATE UNIQUE INDEX deliveries_once ON deliveries (message_id, endpoint_id);
CREATE INDEX deliveries_replay ON deliveries (replay_id) WHERE replay_id IS NOT NULL;

-- Live work only. `visible_at` is when a delivery is due or, while `token` is set, when its lease runs out. Where an
-- endpoint wants order, what has the same `ordering_key` goes out by `position`: all but the first are due at infinity.
CREATE TABLE delivery_queue (
    delivery_id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL,
    message_id uuid NOT NULL,
    format text NOT NULL,
    event_type text NOT NULL,
    trigger text NOT NULL,
    step smallint NOT NULL,
    visible_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    token bigint,
    sequence bigint,
    ordering_key text,
    position bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
CREATE INDEX delivery_queue_due ON delivery_queue (endpoint_id, visible_at);
CREATE INDEX delivery_queue_leased ON delivery_queue (endpoint_id) WHERE token IS NOT NULL;
CREATE INDEX delivery_queue_ordered ON delivery_queue (endpoint_id, ordering_key, position)
    WHERE ordering_key IS NOT NULL;

-- `duration_ms` is the whole; the parts are null where they did not take place or were not measured.
CREATE TABLE attempts (
    delivery_id uuid NOT NULL,
    number integer NOT NULL,
    trigger text NOT NULL CHECK (trigger IN ('automatic', 'manual', 'replay', 'test', 'listen')),
    started_at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    dns_ms integer,
    connect_ms integer,
    tls_ms integer,
    ttfb_ms integer,
    remote_ip text,
    request_headers jsonb,
    status smallint,
    error_code text,
    response_headers jsonb,
    response text,
    next_attempt_at timestamptz,
    redacted_at timestamptz,
    PRIMARY KEY (delivery_id, number)
);

CREATE TABLE dead_letters (
    delivery_id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL,
    event_type text NOT NULL,
    reason text NOT NULL,
    died_at timestamptz NOT NULL,
    -- As in the queue: where the endpoint wants it, a dead letter holds up what comes after it.
    ordering_key text,
    position bigint
);
CREATE INDEX dead_letters_endpoint ON dead_letters (endpoint_id, delivery_id);
CREATE INDEX dead_letters_ordered ON dead_letters (endpoint_id, ordering_key, position)
    WHERE ordering_key IS NOT NULL;

-- Bulk replays as jobs: a worker that holds the lease walks on from `position_at` and `position_id`.
CREATE TABLE replays (
    id uuid PRIMARY KEY,
    program_id uuid NOT NULL,
    partner_id uuid,
    endpoint_id uuid NOT NULL REFERENCES endpoints,
    which text NOT NULL CHECK (which IN ('failed', 'missing', 'all')),
    event_types text[],
    since timestamptz NOT NULL,
    until timestamptz NOT NULL,
    is_dry_run boolean NOT NULL,
    rate_per_second integer NOT NULL CHECK (rate_per_second BETWEEN 1 AND 1000),
    status text NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'running', 'completed', 'canceled')),
    matched bigint NOT NULL DEFAULT 0,
    enqueued bigint NOT NULL DEFAULT 0,
    skipped bigint NOT NULL DEFAULT 0,
    position_at timestamptz,
    position_id uuid,
    token bigint,
    leased_until timestamptz,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    completed_at timestamptz,
    CHECK (since < until)
) WITH (fillfactor = 70);
CREATE INDEX replays_program ON replays (program_id, id);
CREATE INDEX replays_live ON replays (id) WHERE status IN ('pending', 'running');

-- An answer is stored in the transaction of what it reports; one with a secret in it is stored encrypted.
CREATE TABLE idempotency_keys (
    owner_id uuid NOT NULL,
    route text NOT NULL,
    key text NOT NULL,
    request_sha256 bytea NOT NULL,
    status smallint NOT NULL,
    body bytea NOT NULL,
    is_encrypted boolean NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (owner_id, route, key)
);
CREATE INDEX idempotency_keys_created ON idempotency_keys (created_at);

GRANT SELECT, INSERT, UPDATE ON endpoints, endpoint_rates, sequences, replays TO mintwire_webhooks;
GRANT SELECT, INSERT, UPDATE, DELETE ON endpoint_keys, delivery_queue, dead_letters TO mintwire_webhooks;
GRANT SELECT, INSERT, UPDATE, DELETE ON messages, deliveries, attempts TO mintwire_webhooks;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO mintwire_webhooks;
GRANT SELECT, INSERT ON events, inbox TO mintwire_webhooks;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO mintwire_webhooks;

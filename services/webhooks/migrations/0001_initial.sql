-- Endpoints with their signing keys, messages with frozen bodies, deliveries, the small queue of live work, attempts,
-- and dead letters.

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
    description text,
    status text NOT NULL CHECK (status IN ('active', 'paused', 'disabled')),
    disabled_reason text,
    max_in_flight smallint NOT NULL CHECK (max_in_flight BETWEEN 1 AND 100),
    resume_at timestamptz,
    version integer NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    archived_at timestamptz,
    CHECK ((status = 'disabled') = (disabled_reason IS NOT NULL))
) WITH (fillfactor = 70);
CREATE INDEX endpoints_owner ON endpoints (owner_id) WHERE archived_at IS NULL;
CREATE INDEX endpoints_program ON endpoints (program_id, id) WHERE archived_at IS NULL;

CREATE TABLE endpoint_keys (
    id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL REFERENCES endpoints,
    sealed_secret bytea NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz
);
CREATE INDEX endpoint_keys_endpoint ON endpoint_keys (endpoint_id, id);

-- One row per event and format; `body` is what goes over the wire, byte for byte.
CREATE TABLE messages (
    id uuid NOT NULL,
    format text NOT NULL,
    program_id uuid NOT NULL,
    partner_id uuid,
    event_type text NOT NULL,
    occurred_at timestamptz NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (id, format)
);

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
    created_at timestamptz NOT NULL,
    completed_at timestamptz
) WITH (fillfactor = 80);
CREATE INDEX deliveries_endpoint ON deliveries (endpoint_id, id);

-- Live work only. `visible_at` is when a delivery is due or, while `token` is set, when its lease runs out.
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
    token bigint
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000);
CREATE INDEX delivery_queue_due ON delivery_queue (endpoint_id, visible_at);
CREATE INDEX delivery_queue_leased ON delivery_queue (endpoint_id) WHERE token IS NOT NULL;

CREATE TABLE attempts (
    delivery_id uuid NOT NULL,
    number integer NOT NULL,
    trigger text NOT NULL CHECK (trigger IN ('automatic', 'replay', 'test')),
    started_at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    status smallint,
    error_code text,
    response text,
    PRIMARY KEY (delivery_id, number)
);

CREATE TABLE dead_letters (
    delivery_id uuid PRIMARY KEY,
    endpoint_id uuid NOT NULL,
    event_type text NOT NULL,
    reason text NOT NULL,
    died_at timestamptz NOT NULL
);
CREATE INDEX dead_letters_endpoint ON dead_letters (endpoint_id, delivery_id);

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

GRANT SELECT, INSERT, UPDATE ON endpoints, deliveries TO mintwire_webhooks;
GRANT SELECT, INSERT, UPDATE, DELETE ON endpoint_keys, delivery_queue, dead_letters TO mintwire_webhooks;
GRANT SELECT, INSERT ON messages, attempts TO mintwire_webhooks;
GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO mintwire_webhooks;
GRANT SELECT, INSERT ON events, inbox TO mintwire_webhooks;
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox TO mintwire_webhooks;

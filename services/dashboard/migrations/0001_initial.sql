-- Accounts of people, what they may act for, and how they sign in.

GRANT USAGE ON SCHEMA dashboard TO mintwire_dashboard;

-- `email_key` is the address by which an account is found: in lower case. Without a password nobody can sign in.
CREATE TABLE accounts (
    id uuid PRIMARY KEY,
    email text NOT NULL,
    email_key text NOT NULL UNIQUE,
    name text NOT NULL,
    password_hash text,
    zone text,
    rows_per_page integer NOT NULL DEFAULT 50 CHECK (rows_per_page IN (25, 50, 100)),
    created_at timestamptz NOT NULL,
    last_seen_at timestamptz,
    disabled_at timestamptz
);
CREATE INDEX accounts_created ON accounts (created_at, id);

-- Names, zone and contact are what `codes` called them when the membership was made: labels, never rights.
CREATE TABLE memberships (
    id uuid PRIMARY KEY,
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    role text NOT NULL CHECK (role IN ('partner', 'merchant', 'operator')),
    grade text NOT NULL CHECK (grade IN ('look', 'change')),
    program_id uuid,
    partner_id uuid,
    program_name text NOT NULL DEFAULT '',
    partner_name text NOT NULL DEFAULT '',
    zone text NOT NULL DEFAULT 'UTC',
    contact text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL,
    CHECK ((program_id IS NOT NULL) = (role <> 'operator')),
    CHECK ((partner_id IS NOT NULL) = (role = 'partner')),
    UNIQUE NULLS NOT DISTINCT (account_id, role, program_id, partner_id)
);
CREATE INDEX memberships_owner ON memberships (program_id, partner_id, id);

-- A row is found by the digest of the cookie. `confirmed_at` is when the password was last given.
CREATE TABLE sessions (
    id uuid PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    membership_id uuid REFERENCES memberships ON DELETE SET NULL,
    created_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    confirmed_at timestamptz NOT NULL,
    device text NOT NULL,
    network text NOT NULL,
    ended_at timestamptz
);
CREATE INDEX sessions_account ON sessions (account_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX sessions_membership ON sessions (membership_id) WHERE membership_id IS NOT NULL;
CREATE INDEX sessions_created ON sessions (created_at);

-- Browsers that have signed in to an account before, by the digest of a long-lived cookie.
CREATE TABLE devices (
    digest bytea NOT NULL,
    account_id uuid NOT NULL REFERENCES accounts ON DELETE CASCADE,
    used_at timestamptz NOT NULL,
    PRIMARY KEY (digest, account_id)
);
CREATE INDEX devices_account ON devices (account_id);
CREATE INDEX devices_used ON devices (used_at);

-- Invitations, resets and new e-mail addresses: links that work once. Only the digest of a link's secret is stored.
CREATE TABLE links (
    id uuid PRIMARY KEY,
    kind text NOT NULL CHECK (kind IN ('invitation', 'reset', 'address')),
    digest bytea NOT NULL UNIQUE,
    account_id uuid REFERENCES accounts ON DELETE CASCADE,
    email text NOT NULL,
    email_key text NOT NULL,
    role text,
    grade text,
    program_id uuid,
    partner_id uuid,
    program_name text NOT NULL DEFAULT '',
    partner_name text NOT NULL DEFAULT '',
    zone text NOT NULL DEFAULT 'UTC',
    contact text NOT NULL DEFAULT '',
    made_by text NOT NULL,
    created_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    ended_at timestamptz,
    CHECK ((kind = 'invitation') = (role IS NOT NULL)),
    CHECK ((kind = 'invitation') = (grade IS NOT NULL)),
    CHECK (kind = 'invitation' OR account_id IS NOT NULL)
);
CREATE INDEX links_open ON links (kind, email_key) WHERE ended_at IS NULL;
CREATE INDEX links_owner ON links (program_id, partner_id, created_at) WHERE ended_at IS NULL;
CREATE INDEX links_account ON links (account_id) WHERE account_id IS NOT NULL;
CREATE INDEX links_expires ON links (expires_at);

-- Tries by key: a digest of what is counted. Locked in the order of the keys while a try is admitted.
CREATE TABLE throttle (
    key bytea PRIMARY KEY,
    tries integer NOT NULL CHECK (tries >= 0),
    tried_at timestamptz NOT NULL,
    blocked_until timestamptz
) WITH (fillfactor = 70);
CREATE INDEX throttle_tried ON throttle (tried_at);

-- What accounts did here, and tries to sign in. Rows are never changed; old ones are removed.
CREATE TABLE activity (
    id uuid PRIMARY KEY,
    at timestamptz NOT NULL,
    action text NOT NULL,
    result text NOT NULL CHECK (result IN ('done', 'refused')),
    account_id uuid,
    actor text NOT NULL,
    role text,
    program_id uuid,
    partner_id uuid,
    thing text NOT NULL DEFAULT '',
    request_id text NOT NULL,
    network text NOT NULL
);
CREATE INDEX activity_at ON activity (at, id);
CREATE INDEX activity_owner ON activity (program_id, partner_id, at, id);

GRANT SELECT, INSERT, UPDATE, DELETE ON accounts, memberships, sessions, devices, links, throttle TO mintwire_dashboard;
GRANT SELECT, INSERT, DELETE ON activity TO mintwire_dashboard;

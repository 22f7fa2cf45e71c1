-- What publishable keys have asked for in vain: the budget is shared by all replicas and outlives them.

CREATE TABLE guesses (
    key_id uuid NOT NULL,
    address text NOT NULL CHECK (length(address) <= 64),
    window_started_at timestamptz NOT NULL,
    charged integer NOT NULL CHECK (charged >= 0),
    PRIMARY KEY (key_id, address)
) WITH (fillfactor = 60);
CREATE INDEX guesses_window ON guesses (window_started_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON guesses TO mintwire_redemption;

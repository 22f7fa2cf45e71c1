#!/bin/bash
# The part of the official image's entrypoint that the compose file relies on, and no more.
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
    chown -R postgres "$PGDATA" /var/run/postgresql
    exec gosu postgres "$0" "$@"
fi
chmod 700 "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?POSTGRES_PASSWORD must be set}"
    user=${POSTGRES_USER:-postgres}
    # initdb's arguments come as one string, as with the official image.
    eval "initdb --username='$user' --pwfile=<(printf '%s\n' \"\$POSTGRES_PASSWORD\") ${POSTGRES_INITDB_ARGS:-}"
    printf '\nhost all all all scram-sha-256\n' >> "$PGDATA/pg_hba.conf"
    # Set-up listens on the socket only, so a health check over TCP cannot succeed too early.
    pg_ctl -w start -o "-c listen_addresses=''"
    if [ "${POSTGRES_DB:-$user}" != postgres ]; then
        createdb --username="$user" "${POSTGRES_DB:-$user}"
    fi
    pg_ctl -w -m fast stop
fi
exec "$@" -c listen_addresses='*'

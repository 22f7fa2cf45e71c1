#!/bin/bash
# The part of the official image's entrypoint that the compose file relies on, and no more.
set -euo pipefail
if [ "$(id -u)" = 0 ]; then
    chown -R rabbitmq /var/lib/rabbitmq
    exec gosu rabbitmq "$0" "$@"
fi
exec "$@"

#!/usr/bin/env bash
# Brings the compose file up for real on a machine that has no image registry, with look-alike base images
# (deploy/lookalike) on a private engine that leaves the firewall and the forwarding of the machine alone.
#
#   scripts/compose-up-for-real.sh engine      start the engine and make the base images, where missing
#   scripts/compose-up-for-real.sh up          engine, then: docker compose up -d --build --wait
#   scripts/compose-up-for-real.sh check       buy something through the published ports, also with the broker killed
#   scripts/compose-up-for-real.sh compose …   any docker compose command against that stack
#   scripts/compose-up-for-real.sh down        remove the stack and its data, stop the engine, tidy up
#
# Needs root, and the Debian packages docker.io, debootstrap and iptables. COMPOSE_REAL_FOLDER says where the engine
# keeps its data (by default a folder in the temporary files; never inside the repository, which is the build context).
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
folder=${COMPOSE_REAL_FOLDER:-${TMPDIR:-/tmp}/mintwire-compose-real}
export DOCKER_HOST=unix://$folder/docker.sock DOCKER_CONFIG=$folder/config
# The plugin needs a recent buildx to use BuildKit; the Dockerfile asks for nothing that the classic builder lacks.
export DOCKER_BUILDKIT=0

say() { printf '%s %s\n' "$(date +%T)" "$*"; }

need() {
    [ "$(id -u)" = 0 ] || { echo "This needs root." >&2; exit 1; }
    local program missing=()
    for program in dockerd docker debootstrap iptables; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    [ -x "$repository/.venv/bin/docker-compose" ] || missing+=("docker-compose (make install)")
    if [ ${#missing[@]} -gt 0 ]; then
        echo "Missing: ${missing[*]}. On Debian: apt-get install --no-install-recommends docker.io debootstrap iptables" >&2
        exit 1
    fi
}

compose() {
    "$repository/.venv/bin/docker-compose" --project-directory "$repository" \
        -f "$repository/docker-compose.yml" -f "$repository/deploy/lookalike/compose.override.yml" "$@"
}

engine() {
    need
    mkdir -p "$DOCKER_CONFIG"
    if ! docker version >/dev/null 2>&1; then
        say "starting the engine in $folder"
        setsid dockerd --host "$DOCKER_HOST" --data-root "$folder/data" --exec-root "$folder/exec" \
            --pidfile "$folder/docker.pid" --iptables=false --ip6tables=false --ip-forward=false \
            >"$folder/dockerd.log" 2>&1 </dev/null &
        for _ in $(seq 60); do
            docker version >/dev/null 2>&1 && break
            sleep 0.5
        done
        docker version >/dev/null || { tail -n 5 "$folder/dockerd.log" >&2; exit 1; }
    fi
    images
}

has() { docker image inspect "$1" >/dev/null 2>&1; }

images() {
    if ! has debian:trixie-slim; then
        say "making debian:trixie-slim"
        # Debian 12 knows the next release's keys and script; nothing else of the machine goes in but its authorities.
        [ -e "$folder/root/etc/debian_version" ] ||
            debootstrap --variant=minbase --include=ca-certificates trixie "$folder/root" >"$folder/debootstrap.log"
        [ -z "${SSL_CERT_FILE:-}" ] || cp "$SSL_CERT_FILE" "$folder/root/etc/ssl/certs/ca-certificates.crt"
        tar -C "$folder/root" --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' -c . |
            docker import - debian:trixie-slim >/dev/null
    fi
    local pair
    for pair in python=python:3.13-slim postgres=postgres:17 rabbitmq=rabbitmq:4-management; do
        has "${pair#*=}" && continue
        say "making ${pair#*=}"
        docker build --quiet --network host -t "${pair#*=}" "$repository/deploy/lookalike/${pair%%=*}" >/dev/null
    done
}

up() {
    engine
    say "docker compose up"
    compose up -d --build --wait --quiet-build
    compose ps --all
    compose logs --no-log-prefix demo
}

down() {
    if docker version >/dev/null 2>&1; then
        compose down --volumes --timeout 30
    fi
    if [ -e "$folder/docker.pid" ]; then
        local pid
        pid=$(cat "$folder/docker.pid")
        kill "$pid" 2>/dev/null || true
        for _ in $(seq 60); do
            kill -0 "$pid" 2>/dev/null || break
            sleep 0.5
        done
    fi
    ip link delete docker0 2>/dev/null || true
    local mounted
    # Innermost first.
    awk -v under="$folder/" 'index($2, under) == 1 {print $2}' /proc/mounts | sort -r | while read -r mounted; do
        umount "$mounted"
    done
    say "stopped; the images are kept in $folder (remove the folder to be rid of them)"
}

case "${1:-}" in
    engine | up | down) "$1" ;;
    check) cd "$repository" && exec .venv/bin/python -m scripts.compose_check ;;
    compose) shift; compose "$@" ;;
    *) sed -n '2,12s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

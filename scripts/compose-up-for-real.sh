#!/usr/bin/env bash
# Brings the compose file up for real on a machine that has no image registry, with look-alike base images
# (deploy/lookalike) on a private engine that leaves the firewall and the forwarding of the machine alone.
#
#   scripts/compose-up-for-real.sh engine      start the engine and make the base images, where missing
#   scripts/compose-up-for-real.sh up          engine, then: docker compose up -d --build --wait
#   scripts/compose-up-for-real.sh check       engine, then everything that people do to a stack: see scripts/compose_check.py
#   scripts/compose-up-for-real.sh restart     stop the engine under its containers, and start it again
#   scripts/compose-up-for-real.sh compose …   any docker compose command against that stack
#   scripts/compose-up-for-real.sh down        remove the stack and its data, stop the engine, tidy up
#
# COMPOSE_REAL_ENGINE selects the engine: `classic` (the default) is that of Debian 12 with the classic builder, `modern` that
# of Debian 13 with the containerd image store and BuildKit, as a new installation of Docker has them.
# COMPOSE_REAL_SOURCE is the tree with the compose file (by default, this one), COMPOSE_REAL_FOLDER where the engine keeps its
# data (by default a folder in the temporary files; never inside the repository, which is the build context).
# Needs root, and the Debian packages docker.io, debootstrap and iptables.
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
folder=${COMPOSE_REAL_FOLDER:-${TMPDIR:-/tmp}/mintwire-compose-real}
kind=${COMPOSE_REAL_ENGINE:-classic}
source=${COMPOSE_REAL_SOURCE:-$repository}
home=$folder/$kind
export DOCKER_HOST=unix://$home/docker.sock DOCKER_CONFIG=$home/config
# Without buildx the plugin falls back to the classic builder, if it is told so.
[ "$kind" = modern ] || export DOCKER_BUILDKIT=0

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
    "$repository/.venv/bin/docker-compose" --project-directory "$source" \
        -f "$source/docker-compose.yml" -f "$source/deploy/lookalike/compose.override.yml" ${COMPOSE_REAL_OVERLAY:+-f "$source/$COMPOSE_REAL_OVERLAY"} "$@"
}

answers() { docker version >/dev/null 2>&1; }

root() {
    [ -e "$folder/root/etc/debian_version" ] && return
    say "making a Debian 13"
    mkdir -p "$folder"
    debootstrap --variant=minbase --include=ca-certificates trixie "$folder/root" >"$folder/debootstrap.log"
    [ -z "${SSL_CERT_FILE:-}" ] || cp "$SSL_CERT_FILE" "$folder/root/etc/ssl/certs/ca-certificates.crt"
}

# Debian 13's engine runs on Debian 12 except for runc; buildx must be newer than in both.
modern_programs() {
    [ -x "$home/config/cli-plugins/docker-buildx" ] && return
    say "fetching Debian 13's engine and a recent buildx"
    local there=$home/root mirror program
    cp -a "$folder/root" "$there"
    cp /etc/resolv.conf "$there/etc/resolv.conf"
    cp -a /etc/apt/apt.conf.d/. "$there/etc/apt/apt.conf.d/"
    mirror=$(awk '/^deb /{print $2; exit}' "$there/etc/apt/sources.list")
    echo "deb $mirror forky main" >"$there/etc/apt/sources.list.d/forky.list"
    printf 'Package: *\nPin: release n=forky\nPin-Priority: 1\n' >"$there/etc/apt/preferences.d/forky"
    chroot "$there" apt-get update -q >"$home/apt.log"
    DEBIAN_FRONTEND=noninteractive chroot "$there" \
        apt-get install -y -q --no-install-recommends docker.io >>"$home/apt.log"
    chroot "$there" sh -c 'cd /tmp && apt-get download -q docker-buildx/forky' >>"$home/apt.log"
    mkdir -p "$home/bin" "$home/config/cli-plugins"
    for program in dockerd docker-proxy containerd containerd-shim-runc-v2 docker-init; do
        ln -sf "$(find "$there/usr/bin" "$there/usr/sbin" -name "$program" | head -n 1)" "$home/bin/$program"
    done
    dpkg-deb -x "$there"/tmp/docker-buildx_*.deb "$home/buildx"
    cp "$home/buildx/usr/libexec/docker/cli-plugins/docker-buildx" "$home/config/cli-plugins/"
    echo '{"features": {"containerd-snapshotter": true}}' >"$home/daemon.json"
}

start_engine() {
    answers && return
    say "starting the $kind engine in $home"
    rm -f "$home/docker.pid"
    [ -e "$home/daemon.json" ] || echo '{}' >"$home/daemon.json"
    # Not as a child of the check, which would have to reap it when it stops.
    PATH=$home/bin:$PATH setsid --fork dockerd --host "$DOCKER_HOST" --config-file "$home/daemon.json" --data-root "$home/data" \
        --exec-root "$home/exec" --pidfile "$home/docker.pid" --iptables=false --ip6tables=false --ip-forward=false \
        >>"$home/dockerd.log" 2>&1 </dev/null
    for _ in $(seq 120); do
        answers && return
        sleep 0.5
    done
    tail -n 5 "$home/dockerd.log" >&2
    exit 1
}

stop_engine() {
    [ -e "$home/docker.pid" ] || return 0
    local pid
    pid=$(cat "$home/docker.pid")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 120); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.5
    done
    echo "The engine does not stop." >&2
    exit 1
}

engine() {
    need
    mkdir -p "$DOCKER_CONFIG"
    root
    [ "$kind" = classic ] || modern_programs
    start_engine
    images
}

restart() {
    stop_engine
    start_engine
}

has() { docker image inspect "$1" >/dev/null 2>&1; }

images() {
    if ! has debian:trixie-slim; then
        say "making debian:trixie-slim"
        tar -C "$folder/root" --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' -c . |
            docker import - debian:trixie-slim >/dev/null
    fi
    local pair
    for pair in python=python:3.13-slim postgres=postgres:17 rabbitmq=rabbitmq:4-management haproxy=haproxy:3.0; do
        has "${pair#*=}" && continue
        say "making ${pair#*=}"
        docker build --quiet --network host --pull=false -t "${pair#*=}" "$repository/deploy/lookalike/${pair%%=*}" >/dev/null
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
    if answers; then
        compose down --volumes --remove-orphans --timeout 30
    fi
    stop_engine
    ip link delete docker0 2>/dev/null || true
    local mounted
    # Innermost first.
    awk -v under="$folder/" 'index($2, under) == 1 {print $2}' /proc/mounts | sort -r | while read -r mounted; do
        umount "$mounted"
    done
    say "stopped; the images are kept in $folder (remove the folder to be rid of them)"
}

case "${1:-}" in
    engine | up | down | restart) "$1" ;;
    check) engine && cd "$repository" && exec .venv/bin/python -m scripts.compose_check ;;
    compose) shift; compose "$@" ;;
    *) sed -n '2,19s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

#!/bin/sh
# Creates .venv and installs a hash-locked requirements file into it, only if something has changed.
# Usage: scripts/venv.sh requirements-local.txt
set -eu
requirements=$1
installed=.venv/installed-$requirements

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
        path=$(command -v "$name" 2>/dev/null) || continue
        # A name may be a shim for a version that is not installed.
        if is_new_enough "$path"; then
            echo "$path"
            return
        fi
    done
    echo "Python 3.11 or newer is missing: install python3 (Debian 12, Ubuntu 24.04 or newer), or set PYTHON" >&2
    return 1
}

can_make_environments() {
    "$1" -c 'import venv, ensurepip' 2>/dev/null
}

install_venv() {
    package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" = 0 ]; then
        root=
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        root="sudo -n"
    else
        root=none
    fi
    if [ "$root" = none ] || ! command -v apt-get >/dev/null; then
        echo "Python's venv module is missing: run \`apt-get install $package\` as root" >&2
        return 1
    fi
    echo "Python's venv module is missing; installing the package $package"
    $root apt-get update -q
    $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$package"
}

# An environment that was copied, moved or left incomplete does not count.
if ! is_new_enough .venv/bin/python || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    python=$(find_python)
    can_make_environments "$python" || install_venv "$python"
    echo "Making .venv with $python"
    "$python" -m venv --clear .venv
fi
if ! cmp -s "$requirements" "$installed"; then
    echo "Installing $requirements"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --require-hashes -r "$requirements"
    cp "$requirements" "$installed"
fi

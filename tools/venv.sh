#!/usr/bin/env bash
# Makes .venv exactly as requirements/dev.lock says. Safe to run again; leaves nothing outside the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "ocp-ingest: $*" >&2; exit 1; }

python=${PYTHON:-python3}
command -v "$python" >/dev/null || fail "python3 is missing: apt-get install python3"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed, found $("$python" -V 2>&1). Name another one with PYTHON=…"

if [ ! -x .venv/bin/pip ]; then
    rm -rf .venv
    if ! "$python" -m venv .venv 2>/tmp/ocp-venv.$$; then
        rm -rf .venv
        # Debian and Ubuntu ship python3 without ensurepip.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
            "$python" -m venv .venv
        else
            cat /tmp/ocp-venv.$$ >&2; rm -f /tmp/ocp-venv.$$
            fail "this python3 has no venv module; run: sudo apt-get install python3-venv"
        fi
    fi
    rm -f /tmp/ocp-venv.$$
fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.lock
.venv/bin/uv pip sync --quiet --python .venv/bin/python --require-hashes --allow-empty-requirements \
    requirements/dev.lock
# The project itself, editable; the build backend is already there, pinned by the lock.
.venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation -e .
touch .venv/.ready

#!/usr/bin/env bash
# Makes .venv-infra exactly as requirements/infra.lock says: CDK, cdk-nag, cfn-lint, and the node
# that they run on. Needs .venv (for its uv). Safe to run again; leaves nothing outside the checkout.
set -euo pipefail
cd "$(dirname "$0")/.."

fail() { echo "ocp-ingest: $*" >&2; exit 1; }

[ -x .venv/bin/uv ] || bash tools/venv.sh

python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "Python 3.11 or newer is needed, found $("$python" -V 2>&1). Name another one with PYTHON=…"

if [ ! -x .venv-infra/bin/python ]; then
    rm -rf .venv-infra
    .venv/bin/uv venv --quiet --python "$("$python" -c 'import sys; print(sys.executable)')" .venv-infra
fi
.venv/bin/uv pip sync --quiet --python .venv-infra/bin/python --require-hashes requirements/infra.lock
touch .venv-infra/.ready

#!/usr/bin/env bash
# Runs the public WASI test suite against wharf: tests/wasi-testsuite/run.sh CHECKOUT [ARGUMENTS OF ITS RUNNER]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
suite=$(realpath "${1:?usage: run.sh CHECKOUT [ARGUMENTS]}")
shift
if [ -z "${WHARF:-}" ]; then
    (cd "$here/../.." && cargo build --release --package wharf-cli)
    target=${CARGO_TARGET_DIR:-$here/../../target}
    WHARF="$(realpath "$target")/release/wharf"
fi
environment=${XDG_CACHE_HOME:-$HOME/.cache}/wharf/wasi-testsuite
[ -d "$environment" ] || "${PYTHON:-python3}" -m venv "$environment"
"$environment/bin/pip" install --quiet --requirement "$suite/test-runner/requirements.txt"
cd "$suite"
export WHARF
exec "$environment/bin/python" run-tests --runtime-adapter "$here/wharf.py" "$@"

#!/usr/bin/env bash
# Runs Descope's Python SDK against `tokenferry simulate`: run.sh PATH_TO_TOKENFERRY_BINARY
set -euo pipefail

binary=${1:?usage: run.sh PATH_TO_TOKENFERRY_BINARY}
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
simulator=

finish() {
    if [[ -n $simulator ]]; then
        kill "$simulator" 2>/dev/null || true
        wait "$simulator" 2>/dev/null || true
    fi
    rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/requirements.txt"

# Credentials of the caller's environment, possibly real ones, stay out of this.
unset "${!DESCOPE_@}"
"$binary" simulate --listen 127.0.0.1:0 --refuse-users refused-user >"$scratch/exports" &
simulator=$!

# The management key is the last line that it prints.
for _ in $(seq 100); do
    grep -q '^export DESCOPE_MANAGEMENT_KEY=' "$scratch/exports" && break
    kill -0 "$simulator" 2>/dev/null || { echo "the simulator ended early" >&2; exit 1; }
    sleep 0.1
done
# shellcheck disable=SC1091
source "$scratch/exports"
: "${DESCOPE_BASE_URI:?the simulator did not start in time}"

"$scratch/venv/bin/python" "$here/check_sdk.py"

#!/usr/bin/env bash
# Runs Descope's Python SDK against `tokenferry simulate`: run.sh PATH_TO_TOKENFERRY_BINARY
set -euo pipefail

binary=${1:?usage: run.sh PATH_TO_TOKENFERRY_BINARY}
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
simulators=()

finish() {
    if ((${#simulators[@]})); then
        kill "${simulators[@]}" 2>/dev/null || true
        wait "${simulators[@]}" 2>/dev/null || true
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

# Starts a simulator with these options and takes its variables over.
simulate() {
    local exports="$scratch/exports-${#simulators[@]}" simulator
    "$binary" simulate --listen 127.0.0.1:0 "$@" >"$exports" &
    simulator=$!
    simulators+=("$simulator")
    # The management key is the last line that it prints.
    for _ in $(seq 100); do
        grep -q '^export DESCOPE_MANAGEMENT_KEY=' "$exports" && break
        kill -0 "$simulator" 2>/dev/null || { echo "the simulator ended early" >&2; exit 1; }
        sleep 0.1
    done
    # shellcheck disable=SC1090
    source "$exports"
    : "${DESCOPE_BASE_URI:?the simulator did not start in time}"
}

# One whose gateway writes dates, is strict about tenants, and whose providers rotate refresh tokens.
simulate --expiry-format rfc3339 --tenant-strict --rotate-refresh-tokens --apps crm,keys:apikey
export STRICT_BASE_URI=$DESCOPE_BASE_URI STRICT_PROJECT_ID=$DESCOPE_PROJECT_ID STRICT_MANAGEMENT_KEY=$DESCOPE_MANAGEMENT_KEY
unset "${!DESCOPE_@}"
# What names no rate-limit tier, or a wrong one, gets no further than the handshake.
simulate --refuse-users refused-user --license tier2 --tier-limit tier1=1/1h --refuse-wrong-license

"$scratch/venv/bin/python" "$here/check_sdk.py"

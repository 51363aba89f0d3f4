#!/usr/bin/env bash
# Renews .sqlx/, the committed description of every query of the ledger, or checks that it is fresh.
#   .ci/sqlx.sh write DATABASE_URL     the database's schema `tokenferry` is made anew from migrations/
#   .ci/sqlx.sh check DATABASE_URL [COMMAND …]   with this command in place of `cargo check`
set -euo pipefail

mode=$1
url=$2
shift 2
compile=("$@")
((${#compile[@]})) || compile=(cargo check --quiet --lib)
cd "$(dirname "$0")/.."

psql -q -v ON_ERROR_STOP=1 "$url" -c 'set client_min_messages to warning' \
    -c 'drop schema if exists tokenferry cascade' -c 'create schema tokenferry'
for migration in migrations/*.sql; do
    PGOPTIONS='-c search_path=tokenferry' psql -q -v ON_ERROR_STOP=1 "$url" -f "$migration"
done

fresh=target/sqlx-fresh
rm -rf "$fresh"
mkdir -p "$fresh"
separator=$([[ $url == *\?* ]] && echo '&' || echo '?')
# The macros only describe what is compiled anew.
touch src/lib.rs
SQLX_OFFLINE=false SQLX_OFFLINE_DIR="$PWD/$fresh" \
    DATABASE_URL="${url}${separator}options=-c%20search_path%3Dtokenferry" \
    "${compile[@]}"

if [[ $mode == write ]]; then
    rm -rf .sqlx
    mv "$fresh" .sqlx
elif ! diff -r .sqlx "$fresh"; then
    echo "error: .sqlx/ is stale: run .ci/sqlx.sh write DATABASE_URL and commit it" >&2
    exit 1
fi

#!/usr/bin/env bash
# Runs a command with DATABASE_URL pointing at a throwaway Postgres made from the machine's own binaries.
#   .ci/with-postgres.sh COMMAND [ARGUMENT …]
set -euo pipefail

binaries=$(dirname "$(readlink -f "$(command -v initdb || find /usr/lib/postgresql -name initdb | sort -V | tail -n 1)")")
folder=$(mktemp -d /tmp/tokenferry-ci.XXXXXX)
as_owner=()
if [[ $(id -u) == 0 ]]; then
    # Postgres refuses to run as root.
    owner=$(id -un postgres 2>/dev/null || echo nobody)
    chown "$owner" "$folder"
    as_owner=(setpriv --reuid="$owner" --regid="$(id -g "$owner")" --clear-groups)
fi
server() { "${as_owner[@]}" "$binaries/pg_ctl" -D "$folder/data" "$@" >>"$folder/log" 2>&1; }
clean_up() {
    server -m immediate -w stop || true
    rm -rf "$folder"
}
trap clean_up EXIT

touch "$folder/log" && chmod 666 "$folder/log"
"${as_owner[@]}" "$binaries/initdb" -D "$folder/data" --no-sync -A trust -U tokenferry >>"$folder/log" 2>&1
server -o "-k '$folder' -c listen_addresses='' -c fsync=off" -w start || { cat "$folder/log" >&2; exit 1; }
# The `%2F`s of the folder's path.
DATABASE_URL="postgres://tokenferry@localhost/postgres?host=${folder//\//%2F}" "$@"

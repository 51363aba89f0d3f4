#!/bin/sh
# The entry point of the image that postgres-image.sh builds. It honours the variables of the official image that tests use,
# and uses only what a shell has built in: there are no other programs in the image.
set -eu

initialise() {
    # shellcheck disable=SC2086 # several arguments in one variable, as in the official image
    initdb --no-sync --encoding=UTF8 --locale=C.UTF-8 --auth=trust --username="$user" "$@" ${POSTGRES_INITDB_ARGS:-}
}

case ${1:-} in
'' | -*) set -- postgres "$@" ;;
postgres) ;;
*) exec "$@" ;;
esac

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    user=${POSTGRES_USER:-postgres}
    database=${POSTGRES_DB:-$user}
    method=${POSTGRES_HOST_AUTH_METHOD:-scram-sha-256}
    if [ -n "${POSTGRES_PASSWORD:-}" ]; then
        printf '%s\n' "$POSTGRES_PASSWORD" | initialise --pwfile=/dev/stdin
    elif [ "$method" = trust ]; then
        initialise
    else
        echo 'give POSTGRES_PASSWORD, or POSTGRES_HOST_AUTH_METHOD=trust' >&2
        exit 1
    fi
    # Sessions from elsewhere; those from inside the container were let in by initdb.
    printf '\nhost all all all %s\n' "$method" >>"$PGDATA/pg_hba.conf"
    if [ "$database" != postgres ]; then
        printf 'create database "%s"\n' "$database" | postgres --single -F postgres
    fi
fi

exec "$@" -c listen_addresses='*'

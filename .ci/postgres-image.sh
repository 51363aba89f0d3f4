#!/usr/bin/env bash
# Builds a Docker image that behaves like the official `postgres` out of the Postgres that this machine has, for machines
# that reach no registry.
#
#   .ci/postgres-image.sh [NAME:TAG]      default: tokenferry-test-postgres:local
#   TEST_POSTGRES=docker TEST_POSTGRES_IMAGE=tokenferry-test-postgres TEST_POSTGRES_TAG=local cargo test
set -euo pipefail

image=${1:-tokenferry-test-postgres:local}
owner=999 # the user `postgres` of the official image
here=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# The highest version in the place where Debian and Ubuntu put them, else whatever PATH leads to.
find_binaries() {
    local found
    found=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort --version-sort | tail -n 1)
    if [[ -n $found ]]; then
        printf '%s\n' "$found"
    else
        pg_config --bindir
    fi
}

# What the dynamic linker loads for the given files, and the linker itself.
libraries_of() {
    ldd "$@" 2>/dev/null | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }' | sort -u
}

# Everything the image takes over from this machine, one path a line.
list_files() {
    local binaries=$1 share modules module
    local -a programs=("$binaries"/{postgres,initdb,psql,pg_isready} /bin/sh)
    share=$("$binaries/pg_config" --sharedir)
    modules=$("$binaries/pg_config" --pkglibdir)

    # Other languages and the JIT compiler would bring half the machine along.
    for module in "$modules"/*.so; do
        case ${module##*/} in
        llvmjit* | *plperl* | *plpython* | *pltcl*) ;;
        *) programs+=("$module") ;;
        esac
    done
    printf '%s\n' "${programs[@]}" "$share"
    libraries_of "${programs[@]}"
    find /usr/share/zoneinfo /usr/lib/locale/C.utf8 -maxdepth 0 2>/dev/null || true
}

# What this machine does not have in this form: accounts, the entry point, folders that somebody else owns.
lay_out() {
    local root=$1
    mkdir -p "$root"/{etc,var/lib/postgresql,run/postgresql,tmp}
    ln -s ../run "$root/var/run"
    chmod 1777 "$root/tmp"
    printf '%s\n' 'root:x:0:0::/:/bin/sh' "postgres:x:$owner:$owner::/var/lib/postgresql:/bin/sh" >"$root/etc/passwd"
    printf '%s\n' 'root:x:0:' "postgres:x:$owner:" >"$root/etc/group"
    install -m 755 "$here/postgres-entrypoint.sh" "$root/entrypoint"
}

docker version >/dev/null 2>&1 || fail 'no Docker engine answers'
binaries=$(find_binaries) || fail 'no Postgres on this machine'
[[ -x $binaries/initdb ]] || fail "no initdb in $binaries"

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

lay_out "$work/root"
list_files "$binaries" >"$work/files"
archive=(tar --numeric-owner --file "$work/image.tar")
"${archive[@]}" --create --dereference --hard-dereference --owner=0 --group=0 --directory=/ --absolute-names \
    --transform='s,^/,,' --files-from="$work/files"
"${archive[@]}" --append --owner=0 --group=0 --directory="$work/root" etc entrypoint tmp var/run
"${archive[@]}" --append --owner="$owner" --group="$owner" --directory="$work/root" var/lib/postgresql run/postgresql

docker import \
    --change 'ENTRYPOINT ["/entrypoint"]' \
    --change 'CMD ["postgres"]' \
    --change 'ENV PGDATA=/var/lib/postgresql/data' \
    --change "ENV PATH=$binaries:/bin" \
    --change 'USER postgres' \
    --change 'EXPOSE 5432' \
    "$work/image.tar" "$image" >/dev/null
printf '%s: %s from %s\n' "$image" "$("$binaries/postgres" --version)" "$binaries"

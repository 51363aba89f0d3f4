#!/usr/bin/env bash
# Builds config/deploy/Dockerfile around a program that is compiled already, on base images made of this machine's own files, and
# lets the image move tokens the way a cluster would run it. No registry is reached, and it takes some seconds.
#
#   .ci/with-postgres.sh .ci/image.sh target/debug/tokenferry
set -euo pipefail

program=$1
image=tokenferry-ci-$$
work=$(mktemp -d)
stand_in=
clean_up() {
    [[ -z $stand_in ]] || docker rm --force "$stand_in" >/dev/null
    docker rmi --force "$image" "$image-stage" "$image-build" "$image-run" >/dev/null 2>&1 || true
    rm -rf -- "$work"
}
trap clean_up EXIT

fail() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# What the dynamic linker loads for the given files, and the linker itself.
libraries_of() {
    ldd "$@" | awk '$2 == "=>" && $3 ~ /^\// { print $3 } $1 ~ /^\// && $2 ~ /^\(/ { print $1 }' | sort -u
}

# An image of these files, and of what is in the folder.
make_image() {
    local name=$1 folder=$2
    shift 2
    tar --create --file "$work/image.tar" --dereference --hard-dereference --absolute-names --transform='s,^/,,' "$@"
    tar --append --file "$work/image.tar" --owner=0 --group=0 --directory="$folder" .
    docker import "$work/image.tar" "$name" >/dev/null
}

# Its cargo has the program ready.
mkdir -p "$work/build/usr/local/bin" "$work/build/prebuilt" "$work/run/etc/ssl/certs"
printf '#!/bin/sh\n/bin/mkdir -p target/dist && /bin/cp /prebuilt/tokenferry target/dist/\n' \
    >"$work/build/usr/local/bin/cargo"
chmod 755 "$work/build/usr/local/bin/cargo"
install -m 755 "$program" "$work/build/prebuilt/tokenferry"
tools=(/bin/sh /bin/mkdir /bin/cp)
mapfile -t libraries < <(libraries_of "${tools[@]}")
make_image "$image-build" "$work/build" "${tools[@]}" "${libraries[@]}"
mapfile -t libraries < <(libraries_of "$program")
cp /etc/ssl/certs/ca-certificates.crt "$work/run/etc/ssl/certs/"
make_image "$image-run" "$work/run" "${libraries[@]}"

# The first stage gets a name, too, so that it can be removed; building the second does not repeat it.
git archive --output "$work/context.tar" HEAD 2>/dev/null || tar --create --file "$work/context.tar" --exclude=./target .
build() {
    DOCKER_BUILDKIT=0 docker build --quiet --file config/deploy/Dockerfile --build-arg BUILD_IMAGE="$image-build" \
        --build-arg RUN_IMAGE="$image-run" "$@" - <"$work/context.tar" >/dev/null 2>"$work/log" || fail "$(<"$work/log")"
}
build --tag "$image-stage" --target build
build --tag "$image"

# As the CronJob's security context has it.
confined=(--network host --read-only --cap-drop ALL --security-opt no-new-privileges
    --env DESCOPE_PROJECT_ID=Pci --env DESCOPE_MANAGEMENT_KEY=Kci)
docker run --rm "${confined[@]}" "$image" --version

stand_in=$(docker run --detach "${confined[@]}" "$image" simulate --listen 127.0.0.1:0)
for ((tries = 0; ; tries++)); do
    address=$(docker logs "$stand_in" 2>/dev/null | grep -o 'http://127[0-9.:]*' | head -n 1 || true)
    [[ -z $address ]] || break
    ((tries < 100)) || fail 'the stand-in API does not come up'
    sleep 0.1
done
owner=$(stat --format %u "/proc/$(docker inspect --format '{{.State.Pid}}' "$stand_in")")
[[ $owner == 65532 ]] || fail "the image runs as user $owner"

# The throwaway server listens on a socket in a folder of its own.
folder=${DATABASE_URL##*host=}
folder=${folder//%2F//}
chmod 711 "$folder"
psql=$(command -v psql || find /usr/lib/postgresql -name psql | sort -V | tail -n 1)
"$psql" --quiet "$DATABASE_URL" --command "
    create table legacy_oauth_tokens as
    select n as id, 'google' as provider, 'user-' || n as user_id, 'access-' || n as access_token,
           'refresh-' || n as refresh_token, now() + interval '1 day' as expires_at
    from generate_series(1, 1000) n"
summary=$(docker run --rm "${confined[@]}" \
    --volume "$folder:$folder" --volume "$PWD/config/tokenferry.example.toml:/etc/tokenferry/tokenferry.toml:ro" \
    --env SOURCE_DATABASE_URL="$DATABASE_URL" --env TOKENFERRY__API__BASE_URL="$address" \
    --env TOKENFERRY__API__RATE_LIMIT__REQUESTS=10000 "$image" migrate --quiet --json) || fail "$summary"
[[ $summary == *'"committed":1000,'* ]] || fail "$summary"
printf 'the image moved 1000 tokens as user %s on a read-only root\n' "$owner"

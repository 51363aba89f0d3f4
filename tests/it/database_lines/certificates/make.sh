#!/usr/bin/env bash
# Makes the certificates in this folder, some of which rcgen cannot make. They are good for a hundred years, and the key here
# protects nothing. To make them anew, run it in this folder; the tests only need the files.
set -euo pipefail

key() { openssl ecparam -name "$1" -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out "$2"; }
own() { openssl req -x509 -new -days 36500 "$@"; }
signed_by() { openssl x509 -req -in "$scratch/request" -days 36500 -CA "$1.pem" -CAkey "$scratch/$1.key" "${@:2}"; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
key prime256v1 server.key
key prime256v1 "$scratch/authority.key"
key secp521r1 "$scratch/authority_p521.key"
for authority in authority authority_p521; do
    own -key "$scratch/$authority.key" -subj "/CN=$authority" -addext basicConstraints=critical,CA:TRUE -out "$authority.pem"
done

# Each is the server's at 0.0.0.0.
openssl req -new -key server.key -subj /CN=0.0.0.0 -out "$scratch/request"
signed_by authority -out x509_v1.pem
signed_by authority -extfile <(echo basicConstraints=CA:FALSE) -out common_name_only.pem
signed_by authority_p521 -extfile <(echo subjectAltName=IP:0.0.0.0) -out signed_with_p521.pem
own -key server.key -subj /CN=0.0.0.0 -addext subjectAltName=IP:0.0.0.0 -out own_authority.pem
own -key server.key -subj /CN=0.0.0.0 -addext subjectAltName=IP:0.0.0.0 -addext basicConstraints=critical,CA:FALSE \
    -out self_signed.pem

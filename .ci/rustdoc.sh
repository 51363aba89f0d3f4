#!/usr/bin/env bash
# Stands in for rustdoc while `cargo test --doc` runs: checks the crate's documentation with warnings as errors, then runs its examples.
#
# `cargo doc` would compile all dependencies once more, only for their metadata. Here they are the ones that the tests link to.
set -euo pipefail

documentation=(--document-private-items -D warnings --out-dir target/doc)
for ((i = 1; i <= $#; i++)); do
    case ${!i} in
        --test) is_test=1 ;;
        --test-*=*) ;;
        --test-* | --test-args) i=$((i + 1)) ;;
        *) documentation+=("${!i}") ;;
    esac
done
if [[ -n ${is_test-} ]]; then
    rustdoc "${documentation[@]}"
fi
exec rustdoc "$@"

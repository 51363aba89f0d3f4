#!/bin/sh
# $1: the folder of a throwaway Postgres. Waits until its owner is gone, then ends the server and removes the folder.
folder=$1
process_file=$folder/data/postmaster.pid

while read -r _; do :; done

# All that belongs to this server is in one process group with this shell: initdb, and the server before it has a process file.
trap '' QUIT
kill -QUIT 0

if read -r process <"$process_file" && [ "$process" -gt 1 ]; then
    # Removing the file is the last thing the server does.
    rounds=100
    while [ -e "$process_file" ] && [ "$rounds" -gt 0 ]; do
        sleep 0.05 || sleep 1
        rounds=$((rounds - 1))
    done
    [ ! -e "$process_file" ] || kill -KILL "$process"
elif [ ! -e "$folder/postgres.log" ]; then
    # No server was ever started: this is the middle of initdb, which heeds signals only between its steps.
    sleep 1
fi

rounds=5
until rm -rf -- "$folder"; do
    rounds=$((rounds - 1))
    [ "$rounds" -gt 0 ] || exit 1
    sleep 1
done

#!/bin/sh
# $1: the name of a Docker container. Waits until its owner is gone, then removes the container.
name=$1
while read -r _; do :; done

if [ -z "$(docker rm --force --volumes "$name")" ]; then
    # Asked for a moment ago, it may come into being only now. Nobody need wait for that.
    { sleep 10; docker rm --force --volumes "$name"; } &
fi

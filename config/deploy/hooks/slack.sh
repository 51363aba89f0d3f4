#!/bin/sh
# Tells a Slack channel about a run. Needs curl, jq, summary.jq beside it, and a file with the address of an incoming webhook, which
# only the user that runs tokenferry can read:
#
#   [notify]
#   command = ["/usr/local/lib/tokenferry/slack.sh", "/etc/tokenferry/slack-webhook"]
set -eu

webhook=$(cat "${1:-/etc/tokenferry/slack-webhook}")
message=$(jq -c -L "$(dirname "$0")" 'include "summary";
    # Slack reads these three as markup.
    def escaped: gsub("&"; "&amp;") | gsub("<"; "&lt;") | gsub(">"; "&gt;");
    {text: ([("*" + (subject | escaped) + "*"), (details | escaped)] | join("\n"))}')
# The address is a secret: arguments can be seen by other users.
printf 'url = "%s"\n' "$webhook" |
    curl --config - --silent --fail --max-time 20 --header 'content-type: application/json' --data "$message" >/dev/null

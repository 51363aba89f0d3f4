#!/bin/sh
# Mails about a run, through the machine's sendmail (Postfix, msmtp, nullmailer and others bring one). Needs jq, and summary.jq
# beside it:
#
#   [notify]
#   command = ["/usr/local/lib/tokenferry/email.sh", "ops@example.com", "tokenferry@example.com"]
#   on = ["stop", "first_failure"]
set -eu

to=${1:?the recipient is the first argument}
from=${2:-$to}
PATH=$PATH:/usr/sbin:/usr/lib
jq -r -L "$(dirname "$0")" --arg to "$to" --arg from "$from" 'include "summary";
    # A migration may have any name: headers are ASCII.
    def encoded: if test("^[ -~]*$") then . else "=?UTF-8?B?" + @base64 + "?=" end;
    "From: \($from | line)", "To: \($to | line)", "Subject: \(subject | encoded)",
    "MIME-Version: 1.0", "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit",
    "Auto-Submitted: auto-generated", "", subject, "", details' |
    sendmail -i -t

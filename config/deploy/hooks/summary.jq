# What slack.sh and email.sh say about a run, from the JSON that a hook gets.

# One line without control characters: they could begin another header or another message.
def line: tostring | gsub("[[:cntrl:]]"; " ");

def words:
  if .event == "first_failure" then "a token has failed, the run continues"
  else {
    completed: "completed",
    completed_with_failures: (if .mode == "verify" then "completed, differences found" else "completed, some failed" end),
    interrupted: "interrupted",
    stopped: "stopped"
  }[.status] // .status end;

def mode: {migrate: "migration", dry_run: "dry run", verify: "verification", rollback: "rollback"}[.mode] // .mode;

def subject: "tokenferry: \(.migration), \(mode) \(.run_id): \(words)" | line;

def details:
  (.tokens | "\(.selected) selected, \(.committed) committed, \(.unchanged) unchanged, \(.superseded) superseded, \(.failed) failed"),
  (.stop_reason // empty | "Ended early: \(.)"),
  (.failures_by_code // {} | to_entries | sort_by(-.value) | .[:5][] | "\(.value) \(.key)"),
  (if .tokens.failed > 0 then "tokenferry failures --run \(.run_id)" else empty end)
  | line;

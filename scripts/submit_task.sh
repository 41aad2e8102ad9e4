#!/bin/sh
# submit_task.sh TEXT: gives a task to a running polyagent serve (polyagent submit --help tells more).
set -eu
built=$(dirname "$0")/../build/polyagent
if [ -x "$built" ]; then exec "$built" submit "$@"; fi
exec polyagent submit "$@"

#!/usr/bin/env bash
# One more machine for a cluster, until Ctrl-C; see start-head.sh. Leaving is Ctrl-C, too: training goes
# on with the others. The slow test of start-head.sh runs this script, too.
set -euo pipefail
head="${1:?usage: join.sh HEAD [options of ray start]}"
shift
token="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
if [[ ! -s "$token" && -z "${RAY_AUTH_TOKEN:-}" ]]; then
    echo "there is no token in $token: copy it from $head" >&2
    exit 2
fi
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
exec ray start --address "$head:6379" --block --metrics-export-port 8080 "$@"

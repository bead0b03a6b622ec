#!/usr/bin/env bash
# The first machine of a cluster, until Ctrl-C:
#
#   infra/ray/start-head.sh              # makes the token if there is none yet
#
# Then on every other machine, with the same file ~/.ray/auth_token (mode 0600, such as by scp -p):
#
#   infra/ray/join.sh HEAD               # HEAD: this machine's name or address as the others see it
#
# What is given is passed on to `ray start`, such as --num-cpus 0 to keep work off this machine, or
# --node-ip-address where it has several. The dashboard, where jobs are submitted, listens here only;
# reach it from elsewhere by ssh -L 8265:127.0.0.1:8265 HEAD. Between machines Ray uses many ports and
# does not encrypt: keep them in a network of their own. Metrics of each are at port 8080, without a token.
# A slow test runs both scripts on machines that are network namespaces, and kills one of these.
set -euo pipefail
token="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
export RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
if [[ ! -s "$token" && -z "${RAY_AUTH_TOKEN:-}" ]]; then
    # In a shell of its own: Prometheus, by whomever it is run, must be able to read what Ray writes.
    (
        umask 077
        mkdir -p "$(dirname "$token")"
        python3 -c 'import secrets; print(secrets.token_hex(32), end="")' >"$token"
    )
fi
exec ray start --head --block --port 6379 --metrics-export-port 8080 \
    --dashboard-host 127.0.0.1 --dashboard-port 8265 "$@"

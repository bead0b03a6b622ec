#!/usr/bin/env bash
# Passwords for compose.yaml, as random as it gets. Once, before the first start:
#
#   cd infra/docker && ./make-env.sh
#
# An .env that is there stays as it is: PostgreSQL keeps the password it was first started with.
set -euo pipefail
umask 077
cd "$(dirname "$0")"
if [[ -e .env ]]; then
    echo "infra/docker/.env is there already" >&2
    exit 1
fi
for name in RAY_AUTH_TOKEN POSTGRES_PASSWORD S3_ACCESS_KEY S3_SECRET_KEY GRAFANA_PASSWORD; do
    printf '%s=%s\n' "$name" "$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')"
done >.env

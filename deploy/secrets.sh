#!/bin/sh
# Create the passwords that compose.yaml reads. Existing files are kept.
set -eu
umask 077
cd "$(dirname "$0")"
mkdir -p secrets
chmod 711 secrets

password() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

write() {  # write NAME VALUE
    [ -e "secrets/$1" ] || printf '%s' "$2" >"secrets/$1"
    # containers read it as other users, and only through their mount
    chmod 444 "secrets/$1"
}

write mongodb_password "$(password)"
write postgres_password "$(password)"
write minio_password "$(password)"
write mongodb_uri "mongodb://textmill:$(cat secrets/mongodb_password)@mongodb:27017/?authSource=admin"
write mlflow_database "postgresql+psycopg2://mlflow:$(cat secrets/postgres_password)@postgres:5432/mlflow"

#!/bin/sh
# What the official image's entrypoint does with POSTGRES_USER, POSTGRES_DB and POSTGRES_PASSWORD_FILE.
set -eu
data=/var/lib/postgresql/data
mkdir -p /var/run/postgresql
chown postgres "$data" /var/run/postgresql
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }
if [ ! -e "$data/PG_VERSION" ]; then
    cp "$POSTGRES_PASSWORD_FILE" /tmp/password
    chown postgres /tmp/password
    as_postgres initdb --encoding=UTF8 -U "$POSTGRES_USER" -D "$data" --auth-host=scram-sha-256 --auth-local=trust --pwfile=/tmp/password >/dev/null
    echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
    as_postgres pg_ctl -D "$data" -w -o "-c listen_addresses=''" start >/dev/null
    as_postgres createdb -U "$POSTGRES_USER" "$POSTGRES_DB" || true
    as_postgres pg_ctl -D "$data" -w stop >/dev/null
fi
exec setpriv --reuid=postgres --regid=postgres --clear-groups postgres -D "$data" -c listen_addresses='*'

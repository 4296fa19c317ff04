#!/bin/sh
# Does what PostgreSQL's own image does: a cluster in the volume, with the user, password and database of the variables.
set -eu
data=/var/lib/postgresql/data
bin=$(echo /usr/lib/postgresql/*/bin)
run="setpriv --reuid=postgres --regid=postgres --init-groups"
mkdir -p "$data"
chown postgres "$data"
if [ ! -e "$data/PG_VERSION" ]; then
	echo "$POSTGRES_PASSWORD" >/tmp/password
	chown postgres /tmp/password
	$run "$bin/initdb" -D "$data" -U "$POSTGRES_USER" -E UTF8 --auth=scram-sha-256 --pwfile=/tmp/password --no-sync
	echo "host all all all scram-sha-256" >>"$data/pg_hba.conf"
	$run "$bin/pg_ctl" -D "$data" -w -o "-k /tmp -c listen_addresses=''" start
	PGPASSWORD=$POSTGRES_PASSWORD "$bin/createdb" -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB"
	$run "$bin/pg_ctl" -D "$data" -w -m fast stop
fi
exec $run "$bin/postgres" -D "$data" -k /tmp -c 'listen_addresses=*'

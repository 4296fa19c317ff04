#!/bin/sh
# Tests use a browser and a PostgreSQL server; says what to install when one is missing. Nothing is skipped.
missing=""
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$missing chromium chromium-driver"
ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null || missing="$missing postgresql"
if [ -n "$missing" ]; then
	if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
		apt-get update -q >/dev/null && DEBIAN_FRONTEND=noninteractive apt-get install -y -q $missing >/dev/null
	else
		echo "the tests need:$missing (on Debian: sudo apt-get install$missing)"
		exit 1
	fi
fi

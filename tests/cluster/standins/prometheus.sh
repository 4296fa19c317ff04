#!/bin/sh
# Does what Prometheus's own image does.
exec setpriv --reuid=65534 --regid=65534 --clear-groups prometheus "$@"

#!/bin/sh
# Does what Kafka's own image does: one node, its settings from KAFKA_… variables.
set -euf # no globs: Java reads the stars
settings=/tmp/server.properties
env | sed -n 's/^KAFKA_//p' | while IFS='=' read -r name value; do
	[ "$name" = HEAP_OPTS ] || echo "$(echo "$name" | tr 'A-Z_' 'a-z.')=$value"
done >"$settings"
echo log.dirs=/tmp/kafka >>"$settings"
java="java ${KAFKA_HEAP_OPTS:-} -XX:+UseSerialGC -cp /opt/kafka/*"
$java kafka.tools.StorageTool format --ignore-formatted --cluster-id AAAAAAAAAAAAAAAAAAAAAA --config "$settings"
exec $java kafka.Kafka "$settings"

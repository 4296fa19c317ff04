#!/bin/sh
# Does what Flink's own image does: `jobmanager` or `taskmanager`, settings from FLINK_PROPERTIES, as user 9999.
set -euf # no globs: Java reads the stars
conf=/tmp/flink/conf
mkdir -p "$conf"
printf '%s\n' "$FLINK_PROPERTIES" "rest.bind-address: 0.0.0.0" "jobmanager.bind-host: 0.0.0.0" "taskmanager.bind-host: 0.0.0.0" >"$conf/config.yaml"
printf '%s\n' 'rootLogger.level = INFO' 'rootLogger.appenderRef.c.ref = c' 'appender.c.name = c' 'appender.c.type = CONSOLE' \
	'appender.c.layout.type = PatternLayout' 'appender.c.layout.pattern = %d %-5p %c %m%n' >"$conf/log4j.properties"
opened=""
for package in lang net io nio lang.reflect text time util util.concurrent util.concurrent.atomic util.concurrent.locks; do
	opened="$opened --add-opens=java.base/java.$package=ALL-UNNAMED"
done
export FLINK_PLUGINS_DIR=/opt/flink/plugins FLINK_LIB_DIR=/opt/flink/lib
java="java -XX:+UseSerialGC -XX:MaxDirectMemorySize=512m $opened --add-opens=java.base/sun.nio.ch=ALL-UNNAMED
	-Dlog4j.configurationFile=$conf/log4j.properties -cp /opt/flink/lib/*"
run="setpriv --reuid=9999 --regid=9999 --clear-groups"
case $1 in
jobmanager)
	exec $run $java -Xmx768m org.apache.flink.runtime.entrypoint.StandaloneSessionClusterEntrypoint --configDir "$conf" \
		-D jobmanager.memory.heap.size=768m -D jobmanager.memory.off-heap.size=128m \
		-D jobmanager.memory.jvm-metaspace.size=256m
	;;
taskmanager)
	# Flink's scripts reckon these from the size of the process.
	exec $run $java -Xmx768m org.apache.flink.runtime.taskexecutor.TaskManagerRunner --configDir "$conf" \
		-D taskmanager.cpu.cores=2.0 -D taskmanager.memory.task.heap.size=640m \
		-D taskmanager.memory.task.off-heap.size=64m -D taskmanager.memory.network.min=64m \
		-D taskmanager.memory.network.max=64m -D taskmanager.memory.managed.size=64m \
		-D taskmanager.memory.framework.heap.size=128m -D taskmanager.memory.framework.off-heap.size=128m \
		-D taskmanager.memory.jvm-metaspace.size=256m -D taskmanager.memory.jvm-overhead.min=192m \
		-D taskmanager.memory.jvm-overhead.max=192m
	;;
esac

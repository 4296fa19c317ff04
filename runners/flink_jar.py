"""The job server's jar for submission: which one is used, what it fits, and the copy that contains a job."""

import json
import os
import re
import shutil
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from runners.flink_rest import FlinkError

VARIABLE: Final = "STREAMGAUGE_FLINK_JAR"
ENTRY: Final = "org.apache.beam.runners.flink.FlinkPipelineRunner"

# PortablePipelineJarUtils in Beam's Java runners looks for these names.
_FOLDER: Final = "BEAM-PIPELINE"
_PIPELINE: Final = f"{_FOLDER}/pipeline"
_NAMED: Final = re.compile(r"beam-runners-flink-(\d+\.\d+)-job-server-([\w.]+)\.jar$")
_PARTS: Final = re.compile(r"META-INF/maven/org\.apache\.beam/beam-runners-flink-(\d+\.\d+)/pom\.properties$")


@dataclass(frozen=True, slots=True)
class JobServerJar:
    """A job server's jar: its line of Flink, and its Beam version; empty if it does not say."""

    path: Path
    flink: str
    beam: str


def locate(flags_jar: str | None, flink: str) -> JobServerJar:
    """The jar for submission to a Flink of this version.

    The first of: `--flink_job_server_jar`, the variable STREAMGAUGE_FLINK_JAR, our cache, Beam's cache, Beam's own
    download.

    Raises:
        FlinkError: if the named one is not such a jar, none is available, or it is for another Flink.
    """
    line = ".".join(flink.split(".")[:2])
    for named, by in ((flags_jar, "--flink_job_server_jar"), (os.environ.get(VARIABLE), VARIABLE)):
        if named:
            return _fitting(examine(Path(named), by), line, flink)
    for path in cached(line):
        return _fitting(examine(path, "the cache"), line, flink)
    return _fitting(examine(_download(line), "Beam's download"), line, flink)


def cached(line: str) -> list[Path]:
    """Jars for a line of Flink in our cache and in Beam's."""
    ours = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "streamgauge")
    beams = Path.home() / ".apache_beam" / "cache" / "jars"
    name = f"beam-runners-flink-{line}-job-server-*.jar"
    return [path for folder in (ours, beams) for path in sorted(folder.glob(name), reverse=True)]


def examine(path: Path, by: str) -> JobServerJar:
    """Examines a jar; `by` says what named it.

    Raises:
        FlinkError: if it is not a job server for Flink.
    """
    if not path.is_file():
        raise FlinkError(f"{by}: {path} is not a file; it must name the jar of Beam's job server for Flink")
    try:
        with zipfile.ZipFile(path) as jar:
            names = jar.NameToInfo
            if f"{ENTRY.replace('.', '/')}.class" not in names:
                raise FlinkError(f"{by}: {path} is not a job server of Beam for Flink")
            flink, beam = "", ""
            if named := _NAMED.search(path.name):
                flink, beam = named[1], named[2]
            for name in names:
                if found := _PARTS.match(name):
                    said = dict(line.split("=", 1) for line in jar.read(name).decode().splitlines() if "=" in line)
                    flink, beam = found[1], said.get("version", beam)
    except (zipfile.BadZipFile, OSError):
        raise FlinkError(f"{by}: {path} is not a jar") from None
    return JobServerJar(path, flink, beam)


def _fitting(jar: JobServerJar, line: str, flink: str) -> JobServerJar:
    if jar.flink not in ("", line):
        raise FlinkError(
            f"{jar.path} is for Flink {jar.flink}, and the cluster is Flink {flink}: they must be the same"
        )
    return jar


def _download(line: str) -> Path:
    from apache_beam.utils.subprocess_server import JavaJarServer

    try:
        url = JavaJarServer.path_to_beam_jar(f":runners:flink:{line}:job-server:shadowJar")
        return Path(JavaJarServer.local_jar(url))
    except Exception as error:  # noqa: BLE001  # whether network, disk or missing page: there is no jar
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise FlinkError(
            f"submission needs the jar of Beam's job server for Flink {line}, and Beam could not download it ({said}):"
            f" name one with --flink_job_server_jar or {VARIABLE}"
        ) from None


def with_job(jar: JobServerJar, target: str, pipeline: Any, options: Any) -> None:
    """Writes a copy of the jar that contains a job: its pipeline, its options, and the files that it names.

    Raises:
        FlinkError: if the disk refuses.
    """
    from google.protobuf import json_format  # type: ignore[import-untyped]  # it ships none

    try:
        shutil.copyfile(jar.path, target)
        with zipfile.ZipFile(target, "a", zipfile.ZIP_DEFLATED) as archive:
            for environment in pipeline.components.environments.values():
                staged = [_staged(archive, dependency) for dependency in environment.dependencies]
                del environment.dependencies[:]
                environment.dependencies.extend(staged)
            archive.writestr(f"{_PIPELINE}/pipeline.json", json_format.MessageToJson(pipeline))
            archive.writestr(f"{_PIPELINE}/pipeline-options.json", json_format.MessageToJson(options))
            archive.writestr(f"{_FOLDER}/pipeline-manifest.json", json.dumps({"defaultJobName": "pipeline"}))
    except OSError as error:
        raise FlinkError(f"{target}: {error.strerror}") from None


def _staged(archive: zipfile.ZipFile, dependency: Any) -> Any:
    """A file that a worker needs, as an artifact in the jar; other artifacts stay where they are."""
    from apache_beam.portability import common_urns
    from apache_beam.portability.api import beam_runner_api_pb2

    if dependency.type_urn != common_urns.artifact_types.FILE.urn:
        return dependency
    payload = beam_runner_api_pb2.ArtifactFilePayload.FromString(dependency.type_payload)
    name = f"{_PIPELINE}/artifacts/{len(archive.namelist())}-{os.path.basename(payload.path)}"
    archive.write(payload.path, name)
    staged = beam_runner_api_pb2.ArtifactInformation()
    staged.CopyFrom(dependency)
    payload.path = f"classpath://{name}"
    staged.type_payload = payload.SerializeToString()
    return staged


def names_of(pipeline: Any) -> Sequence[str]:
    """The names by which a savepoint of a pipeline keys its state: every transform, in the order of the graph."""
    return sorted(pipeline.components.transforms)

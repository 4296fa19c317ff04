"""A real Kafka broker for tests: one node, started for the occasion, killed and started again at will.

Its jars come from Maven once and are kept in `~/.cache/streamgauge`. It listens on the loopback only, and ends with
the process that started it.
"""

import base64
import datetime
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # its stubs do not say so
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.waiting import Stuck, until

VERSION: Final = "4.1.1"
CACHE: Final = Path.home() / ".cache" / "streamgauge"
USER: Final = "gauge"
PASSWORD: Final = 'pass"word\\ with everything'
START_SECONDS: Final = 90.0
_PORT_TRIES: Final = 5
_WATCHED: Final = ("setpriv", "--pdeathsig", "KILL")
"""How it ends with us: a function of ours between fork and exec may hang in a process of gRPC's."""
_LOGGING: Final = """Configuration:
  status: WARN
  Appenders:
    Console: {name: C, PatternLayout: {pattern: "%d %p %c{1}: %m%n"}}
  Loggers:
    Root: {level: WARN, AppenderRef: {ref: C}}
"""


class Broker:
    """One broker with its data in `folder`; `address` takes plain clients, `secure_address` TLS with a password."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._jars = jars()
        self._process: subprocess.Popen[bytes] | None = None
        self.ca = folder / "ca.pem"
        _certificate(self.ca, folder / "server.pem")
        (folder / "log4j2.yaml").write_text(_LOGGING)
        self._choose_ports()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._ports[0]}"

    @property
    def secure_address(self) -> str:
        return f"127.0.0.1:{self._ports[1]}"

    @property
    def pid(self) -> int:
        """The process id of the running broker."""
        if self._process is None:
            raise AssertionError("the broker is not running")
        return self._process.pid

    def start(self) -> None:
        """Starts it, or starts it again on the same ports with the same data, and waits until it answers.

        It ends with the thread that called this.

        Raises:
            RuntimeError: when it does not; the message holds all that it said.
        """
        if not (self.folder / "data").exists():
            self._format()
        for _ in range(_PORT_TRIES):
            with (self.folder / "log").open("wb") as log:
                self._process = subprocess.Popen(
                    [*_WATCHED, *self._java(), "kafka.Kafka", self.folder / "server.properties"],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            if self._answers():
                return
            self.kill()
            if "Address already in use" not in self._said():
                break
            shutil.rmtree(self.folder / "data")
            self._choose_ports()
            self._format()
        raise RuntimeError(f"the broker does not answer:\n{self._said()}")

    def kill(self) -> None:
        """kill -9."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stops it in the middle of whatever it does: connections stay open, nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets it go on."""
        os.kill(self.pid, signal.SIGCONT)

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.address, "log_level": 0})

    def create(self, topic: str, partitions: int = 1, **settings: Any) -> str:
        """Makes a topic; settings are the broker's, with underscores for dots."""
        config = {name.replace("_", "."): str(value) for name, value in settings.items()}
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=config)
        admin = self.admin()  # it must outlive the request, or there is no answer
        admin.create_topics([new])[topic].result(30)
        return topic

    def _answers(self) -> bool:
        def has_ended() -> bool:
            return self._process is None or self._process.poll() is not None

        try:
            until(self._lists_topics, "the broker", seconds=START_SECONDS, unless=has_ended)
        except Stuck:
            return False
        return True

    def _lists_topics(self) -> bool:
        # A client that meets a closed port waits before it tries again: the port is asked first.
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self._ports[0])):
                return False
        admin = self.admin()
        with suppress(KafkaException):
            admin.list_topics(timeout=2)
            return True
        return False

    def _format(self) -> None:
        cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "A")
        command = [*self._java(), "kafka.tools.StorageTool", "format"]
        command += ["-t", cluster, "-c", self.folder / "server.properties"]
        done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise RuntimeError(f"the broker's storage cannot be made:\n{(done.stdout + done.stderr).decode()}")

    def _java(self) -> list[str | Path]:
        settings = [f"-Dlog4j2.configurationFile={self.folder}/log4j2.yaml", "-cp", f"{self._jars}/*"]
        return ["java", "-Xms192m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=4", *settings]

    def _choose_ports(self) -> None:
        with socket.socket() as one, socket.socket() as two, socket.socket() as three:
            for probe in (one, two, three):
                probe.bind(("127.0.0.1", 0))
            self._ports: list[int] = [probe.getsockname()[1] for probe in (one, two, three)]
        plain, secure, controller = self._ports
        quoted = PASSWORD.replace("\\", "\\\\").replace('"', '\\"').replace("\\", "\\\\")
        login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        settings = {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "listeners": f"PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},SECURE://127.0.0.1:{secure}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL",
            "listener.name.secure.sasl.enabled.mechanisms": "PLAIN",
            "listener.name.secure.plain.sasl.jaas.config": f'{login} user_{USER}="{quoted}";',
            "listener.name.secure.ssl.keystore.type": "PEM",
            "listener.name.secure.ssl.keystore.location": self.folder / "server.pem",
            "log.dirs": self.folder / "data",
            "auto.create.topics.enable": "false",
            "log.initial.task.delay.ms": 500,
            "log.retention.check.interval.ms": 500,
            "log.retention.ms": -1,  # tests send records that are years old
            "log.segment.delete.delay.ms": 100,
            "offsets.topic.replication.factor": 1,
            "offsets.topic.num.partitions": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "group.initial.rebalance.delay.ms": 0,
            "share.coordinator.state.topic.replication.factor": 1,
        }
        text = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.folder / "server.properties").write_text(text)

    def _said(self) -> str:
        log = self.folder / "log"
        return log.read_text(errors="replace") if log.exists() else ""


@contextmanager
def broker() -> Iterator[Broker]:
    """A broker of its own, empty."""
    with tempfile.TemporaryDirectory(prefix="kafka-") as folder:
        server = Broker(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def jars() -> Path:
    """The folder of the broker's jars; Maven fetches them when they are not there yet.

    Raises:
        RuntimeError: when Java or Maven is missing or fails; the message says what to do.
    """
    for program, package in (("java", "default-jre-headless"), ("mvn", "maven")):
        if shutil.which(program) is None:
            raise RuntimeError(f"{program} is not installed, and these tests need it: apt-get install {package}")
    folder = CACHE / f"kafka-{VERSION}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / f"kafka-{VERSION}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            aside = CACHE / f"kafka-{VERSION}.new"
            shutil.rmtree(aside, ignore_errors=True)
            pom = Path(__file__).with_name("broker-pom.xml")
            goal = "org.apache.maven.plugins:maven-dependency-plugin:copy-dependencies"
            command = ["mvn", "-q", "-B", "-f", str(pom), f"-Dkafka={VERSION}", goal]
            done = subprocess.run(
                [*command, "-DincludeScope=runtime", f"-DoutputDirectory={aside}"], capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(f"Maven does not get the broker:\n{done.stdout}{done.stderr}")
            aside.rename(folder)
    return folder


def _certificate(public: Path, server: Path) -> None:
    """A certificate of 127.0.0.1 that signs itself; `server` holds its key too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.timezone.utc)
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(alternative, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    text = certificate.public_bytes(serialization.Encoding.PEM)
    encoding = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    public.write_bytes(text)
    server.write_bytes(key.private_bytes(*encoding) + text)

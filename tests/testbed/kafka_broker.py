"""A real Apache Kafka on 127.0.0.1: one KRaft node (`Broker`), or several that form a cluster (`Cluster`).

The jars come from Maven Central into the cache folder. A start takes about five seconds; two of them format the data
folder.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.testbed.parts import MissingPartError, Part, cached, free_ports, run

POM = Path(__file__).parent / "kafka" / "pom.xml"
_LOGGING = POM.with_name("log4j2.properties")
_FETCH_TIMEOUT_S = 280.0
_FORMAT_TIMEOUT_S = 120.0
_START_TIMEOUT_S = 120.0
_STARTED = "Kafka Server started"
_OLDEST_JAVA = 17
INSTALL = "a Kafka broker needs Java 17 and Maven; on Debian: apt-get install default-jre-headless maven"

# The serial collector: records of some megabytes are "humongous" to G1 in a small heap, and its threads cost CPU.
_JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Djava.awt.headless=true", "-Dkafka.logs.dir=.")
# The first compiler only: a test's broker lives for seconds, and starts with 2.9 s of CPU instead of 4.9.
_SHORT_LIVED = ("-XX:TieredStopAtLevel=1",)


def java() -> Path:
    """A Java that runs Kafka 4: JAVA_HOME, or the one on PATH.

    Raises:
        MissingPartError: there is none, or it is too old.
    """
    home = os.environ.get("JAVA_HOME")
    found = str(Path(home) / "bin" / "java") if home else shutil.which("java")
    if found is None or not os.access(found, os.X_OK):
        raise MissingPartError(f"{INSTALL} (no java found)")
    printed = run([found, "-version"], cwd=Path.cwd(), timeout_s=60)
    version = re.search(r'version "(\d+)', printed)
    if version is None or int(version[1]) < _OLDEST_JAVA:
        raise MissingPartError(f"{INSTALL} ({found} is: {printed.splitlines()[0]})")
    return Path(found)


def version() -> str:
    """The Kafka version that the pom names."""
    found = re.search(r"<artifactId>kafka_2\.13</artifactId>\s*<version>([^<]+)</version>", POM.read_text())
    if found is None:
        raise AssertionError(f"{POM}: must name kafka_2.13 and its version")
    return found[1]


def jars() -> Path:
    """The folder with the broker's jars, fetched at the first call (43 MB).

    Raises:
        MissingPartError: they are not there and Maven is not installed.
        PartFailedError: Maven failed; the message carries what it printed.
    """

    def fetch(folder: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise MissingPartError(f"{INSTALL} (no mvn found)")
        # Maven writes beside the pom it reads.
        pom = shutil.copy(POM, folder)
        copy = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
        command = [maven, "-q", "-B", "-f", pom, copy, f"-DoutputDirectory={folder / 'jars'}"]
        run(command, cwd=folder, timeout_s=_FETCH_TIMEOUT_S)

    return cached(f"kafka-{version()}", POM.read_bytes(), fetch) / "jars"


def _java_command(*arguments: str, long_lived: bool = False) -> list[str | Path]:
    jvm = _JVM if long_lived else (*_JVM, *_SHORT_LIVED)
    return [
        java(), *jvm, f"-Dlog4j2.configurationFile={_LOGGING}", "-cp", f"{jars()}{os.sep}*", *arguments,
    ]  # fmt: skip


def cluster_id() -> str:
    """A fresh cluster id in Kafka's own form."""
    # Kafka's own tool takes one that begins with a hyphen for an option.
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).rstrip(b"=").decode()


class Broker:
    """One node, broker and controller in one process, with data, log and ports that outlive its restarts.

    `start` formats the folder the first time and returns when the broker serves. Topics are never created by the way.
    """

    def __init__(
        self,
        folder: Path,
        properties: Mapping[str, str] | None = None,
        *,
        node_id: int = 1,
        controllers: Mapping[int, int] | None = None,
        identity: str | None = None,
        long_lived: bool = False,
    ) -> None:
        """A node that is not started yet.

        Args:
            folder: made if missing; holds data, configuration and log.
            properties: server properties that are added to ours or replace them; `{port}` and `{controller_port}` in a
                value stand for this node's ports, so that a test may bring listeners of its own.
            node_id: the node's number in its cluster.
            controllers: controller port of every node of the cluster; none means that this is the only one.
            identity: the cluster's id, the same on all nodes; none means a fresh one.
            long_lived: let the JVM optimise as in production: for measures, not for tests.
        """
        self._part = Part("kafka", folder)
        self._identity = identity or cluster_id()
        self._long_lived = long_lived
        self.port = free_ports(1)[0]
        self._controllers = dict(controllers) if controllers else {node_id: free_ports(1)[0]}
        self._configuration = folder / "server.properties"
        self._properties = self._defaults(node_id) | {
            name: value.replace("{port}", str(self.port)).replace("{controller_port}", str(self._controllers[node_id]))
            for name, value in (properties or {}).items()
        }
        self._formatted = False

    def _defaults(self, node_id: int) -> dict[str, str]:
        nodes = len(self._controllers)
        replicas = str(min(3, nodes))
        quorum = ",".join(f"{node}@127.0.0.1:{port}" for node, port in self._controllers.items())
        return {
            "process.roles": "broker,controller",
            "node.id": str(node_id),
            "controller.quorum.voters": quorum,
            "listeners": f"PLAINTEXT://127.0.0.1:{self.port},CONTROLLER://127.0.0.1:{self._controllers[node_id]}",
            "advertised.listeners": f"PLAINTEXT://127.0.0.1:{self.port}",
            "inter.broker.listener.name": "PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SSL:SSL,"
            "SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
            "log.dirs": str(self._part.folder.resolve() / "data"),
            "auto.create.topics.enable": "false",
            "default.replication.factor": replicas,
            "min.insync.replicas": "2" if nodes > 2 else "1",
            "offsets.topic.num.partitions": "4",
            "offsets.topic.replication.factor": replicas,
            "transaction.state.log.num.partitions": "2",
            "transaction.state.log.replication.factor": replicas,
            "transaction.state.log.min.isr": "1",
            # A test's consumers come, die and are missed within a second or two.
            "group.initial.rebalance.delay.ms": "0",
            "group.min.session.timeout.ms": "500",
            # The bound that tests set is their topic's; the broker's own is out of their way.
            "message.max.bytes": str(64 << 20),
            "replica.fetch.max.bytes": str(64 << 20),
            # A leader that was killed is missed after three seconds, not nine.
            "broker.heartbeat.interval.ms": "500",
            "broker.session.timeout.ms": "3000",
        }

    @property
    def bootstrap(self) -> str:
        """`127.0.0.1:port`, the same after a restart."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id of the JVM, for CPU metering; another one after a restart."""
        return self._part.pid

    @property
    def log(self) -> Path:
        """What the broker printed, over all its starts."""
        return self._part.log

    @property
    def running(self) -> bool:
        """Whether the process is there, frozen or not."""
        return self._part.running

    def format(self) -> None:
        """Prepare the folder once; `start` does it where it was not done."""
        if not self._formatted:
            lines = [f"{name}={value}\n" for name, value in self._properties.items()]
            self._configuration.write_text("".join(lines))
            command = _java_command(
                "kafka.tools.StorageTool", "format", "-t", self._identity, "-c", str(self._configuration)
            )
            run(command, cwd=self._part.folder, timeout_s=_FORMAT_TIMEOUT_S)
            self._formatted = True

    def start(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Start on the same folder and ports as before; returns when it serves.

        Raises:
            PartFailedError: it did not come up; the message carries the end of its log.
        """
        self.await_started(self.spawn(), timeout_s)

    def spawn(self) -> int:
        """Start without waiting: a node of a cluster serves only once most of its fellows are there too.

        Returns the size of the log before this start, for `await_started`.
        """
        self.format()
        before = len(self._part.printed())
        self._part.spawn(_java_command("kafka.Kafka", str(self._configuration), long_lived=self._long_lived))
        return before

    def await_started(self, before: int, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Wait for a `spawn`. The broker prints its line after the controller has unfenced it: it leads and answers."""
        self._part.await_log(_STARTED, before, timeout_s)

    def kill(self) -> None:
        """SIGKILL; `start` brings it back with what was on its disk."""
        self._part.kill()

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing is answered."""
        self._part.freeze()

    def thaw(self) -> None:
        """SIGCONT after `freeze`."""
        self._part.thaw()

    def stop(self) -> None:
        """An orderly end; `start` brings it back."""
        self._part.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.kill()


class Cluster:
    """Several nodes, three replicas a topic by default, two of them needed for acks=all."""

    def __init__(self, folder: Path, nodes: int = 3, properties: Mapping[str, str] | None = None) -> None:
        controllers = dict(zip(range(1, nodes + 1), free_ports(nodes), strict=True))
        identity = cluster_id()
        self.brokers: Sequence[Broker] = [
            Broker(folder / str(node), properties, node_id=node, controllers=controllers, identity=identity)
            for node in controllers
        ]

    @property
    def bootstrap(self) -> str:
        """All nodes, comma-separated."""
        return ",".join(broker.bootstrap for broker in self.brokers)

    def start(self, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Start all nodes; returns when each of them serves."""
        with ThreadPoolExecutor(len(self.brokers)) as threads:
            list(threads.map(Broker.format, self.brokers))
        for broker, before in [(broker, broker.spawn()) for broker in self.brokers]:
            broker.await_started(before, timeout_s)

    def kill(self) -> None:
        """SIGKILL all nodes."""
        for broker in self.brokers:
            broker.kill()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

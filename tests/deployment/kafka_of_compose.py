"""The broker of compose.yaml as its container runs it: the file's own start command and variables, on free ports.

What differs: addresses and folders are those of a test, and where the image's `run` script would render the variables
and start Kafka, the same class of the image does it out of the jars. `kafka-acls.sh` of the image runs the same tool.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schemas.kafka_settings import KafkaSettings
from tests.deployment.images import ROOT
from tests.testbed import kafka_broker
from tests.testbed.parts import Part, free_ports

START_TIMEOUT_S = 120.0
INSIDE, CONTROLLER, OUTSIDE = 9092, 9093, 9094
_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"


class KafkaOfCompose:
    """One broker; entered, it serves and `kafka-access` has given its rights."""

    def __init__(self, folder: Path, services: dict[str, Any]) -> None:
        self.folder = folder
        self._services = services
        self._ports = dict(zip((INSIDE, CONTROLLER, OUTSIDE), free_ports(3), strict=True))
        self._part = Part("kafka", folder)
        self.secrets = folder / "secrets"
        for name in ("tmp", "bin", "default", "mounted", "final", "data"):
            (folder / name).mkdir()
        for name in ("server.properties", "log4j2.yaml", "tools-log4j2.yaml"):
            (folder / "default" / name).write_text("\n")
        subprocess.run(["make", "-s", "secrets", f"SECRETS={self.secrets}"], cwd=ROOT, check=True, timeout=60)
        self._write_programs()

    def _write_programs(self) -> None:
        java = f"{shlex.quote(str(kafka_broker.java()))} {_JVM} -cp {shlex.quote(f'{kafka_broker.jars()}/*')}"
        logging = shlex.quote(str(kafka_broker.POM.with_name("log4j2.properties")))
        programs = {
            "run": f"set -e\n{java} kafka.docker.KafkaDockerWrapper setup --default-configs-dir {self.folder}/default "
            f"--mounted-configs-dir {self.folder}/mounted --final-configs-dir {self.folder}/final\n"
            f"exec {java} -Xmx512m -Dlog4j2.configurationFile={logging} kafka.Kafka "
            f"{self.folder}/final/server.properties",
            "kafka-acls.sh": f'exec {java} org.apache.kafka.tools.AclCommand "$@"',
            "kafka-broker-api-versions.sh": f'exec {java} org.apache.kafka.tools.BrokerApiVersionsCommand "$@"',
        }
        for name, text in programs.items():
            program = self.folder / "bin" / name
            program.write_text(f"#!/bin/bash\n{text}\n")
            program.chmod(0o755)

    def _here(self, text: str) -> str:
        """A text of the file, with the folders and addresses of this test."""
        places = {
            "/etc/kafka/docker/run": f"{self.folder}/bin/run",
            "/opt/kafka/bin/": f"{self.folder}/bin/",
            "/run/secrets/": f"{self.secrets}/",
            "/tmp/": f"{self.folder}/tmp/",  # noqa: S108
            "/var/lib/kafka/data": f"{self.folder}/data",
            "kafka:9092": f"127.0.0.1:{self._ports[INSIDE]}",
            "SIDE://:9092": f"SIDE://127.0.0.1:{self._ports[INSIDE]}",
            "SIDE://:9094": f"SIDE://127.0.0.1:{self._ports[OUTSIDE]}",
            **{f":{port}": f":{free}" for port, free in self._ports.items()},
        }
        found = re.compile("|".join(map(re.escape, places)))
        # `$$` is Compose's own escape.
        return found.sub(lambda match: places[match[0]], text).replace("$$", "$")

    def _command(self, service: str) -> list[str]:
        return [self._here(word) for word in self._services[service]["entrypoint"]]

    def _environment(self, service: str) -> dict[str, str]:
        given = {name: self._here(str(value)) for name, value in self._services[service]["environment"].items()}
        return {**given, "CLUSTER_ID": kafka_broker.cluster_id(), "PATH": os.environ["PATH"]}

    @property
    def bootstrap(self) -> str:
        """`host:port` of the listener that containers use."""
        return f"127.0.0.1:{self._ports[INSIDE]}"

    @property
    def published(self) -> str:
        """`host:port` of the listener that the machine's people use."""
        return f"127.0.0.1:{self._ports[OUTSIDE]}"

    @property
    def controller(self) -> str:
        """`host:port` of the controller."""
        return f"127.0.0.1:{self._ports[CONTROLLER]}"

    @property
    def properties(self) -> dict[str, str]:
        """What the image's own class made of the variables."""
        text = (self.folder / "final" / "server.properties").read_text()
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def settings(self, user: str, **changed: Any) -> KafkaSettings:
        """Of a client of ours that logs in as one of the file's users."""
        own = {
            "bootstrap_servers": (self.bootstrap,), "security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN",
            "sasl_username": user, "sasl_password_file": self.secrets / f"kafka_{user}", "replication_factor": 1,
            "min_insync_replicas": 1, "partitions": 1, "delivery_timeout_s": 30,
        }  # fmt: skip
        return KafkaSettings(**{**own, **changed})

    def check_health(self) -> int:
        """Exit code of the file's health check."""
        (_, script) = self._services["kafka"]["healthcheck"]["test"]
        return subprocess.run(
            ["/bin/sh", "-c", self._here(script)], cwd=self.folder, check=False, timeout=60, capture_output=True
        ).returncode

    def give_rights(self) -> None:
        """What `kafka-access` does."""
        ran = subprocess.run(
            self._command("kafka-access"), cwd=self.folder, env=self._environment("kafka-access"), check=False,
            timeout=300, capture_output=True, text=True,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout + ran.stderr

    def __enter__(self) -> Self:
        self._part.spawn(self._command("kafka"), self._environment("kafka"))
        try:
            self._part.await_log("Kafka Server started", 0, START_TIMEOUT_S)
        except BaseException:
            self._part.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._part.kill()

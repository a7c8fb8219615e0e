"""The CustomResourceDefinitions of the Strimzi operator, written by its own generator from Maven Central's jars."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from tests.testbed.parts import MissingPartError, cached, run

POM = Path(__file__).parent / "strimzi" / "pom.xml"
_MODEL = "io.strimzi.api.kafka.model"
TYPES = {
    "kafkas": f"{_MODEL}.kafka.Kafka",
    "kafkanodepools": f"{_MODEL}.nodepool.KafkaNodePool",
    "kafkatopics": f"{_MODEL}.topic.KafkaTopic",
    "kafkausers": f"{_MODEL}.user.KafkaUser",
}
_OLDEST_JAVA = 21
_TIMEOUT_S = 300.0
INSTALL = (
    "Strimzi's definitions are generated with Java 21 or later and Maven; on Debian 13: apt-get install "
    "default-jre-headless maven"
)


def java() -> Path:
    """A Java that is new enough: JAVA_HOME's, the one on PATH, or another that is installed beside it.

    Raises:
        MissingPartError: there is none.
    """
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    beside = sorted(Path("/usr/lib/jvm").glob("*/bin/java"), reverse=True)
    for found in (*([Path(home) / "bin" / "java"] if home else []), *([Path(on_path)] if on_path else []), *beside):
        if os.access(found, os.X_OK):
            version = re.search(r'version "(\d+)', run([found, "-version"], cwd=Path.cwd(), timeout_s=60))
            if version is not None and int(version[1]) >= _OLDEST_JAVA:
                return found
    raise MissingPartError(INSTALL)


def definitions() -> Path:
    """A folder with a YAML file for each of TYPES, made at the first call (39 MB of jars are fetched and thrown away).

    Raises:
        MissingPartError: it is not there, and Java or Maven is missing.
        PartFailedError: the message carries the end of what was printed.
    """

    def make(folder: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise MissingPartError(INSTALL)
        toolchain, jars = java(), folder / "jars"
        # Maven writes beside the pom it reads.
        pom = Path(shutil.copy(POM, folder))
        copy = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
        fetch: list[str | Path] = [maven, "-q", "-B", "-f", pom, copy, f"-DoutputDirectory={jars}"]
        run(fetch, cwd=folder, timeout_s=_TIMEOUT_S)
        written = [f"{kind}={folder / name}.yaml" for name, kind in TYPES.items()]
        generator = "io.strimzi.crdgenerator.CrdGenerator"
        generate: list[str | Path] = [toolchain, "-cp", f"{jars}{os.sep}*", generator, "--yaml", *written]
        run(generate, cwd=folder, timeout_s=_TIMEOUT_S)
        pom.unlink()
        shutil.rmtree(jars)

    return cached("strimzi", POM.read_bytes(), make)

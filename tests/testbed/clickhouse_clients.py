"""Other people's ClickHouse clients: clickhouse-go and the JDBC driver, each with a small program that reads.

The programs are built once into the cache folder, from sources beside this file. clickhouse-go comes in two versions:
the newest, and the oldest that Grafana's plugin asks for a longer time with than we once allowed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.testbed.collector import go
from tests.testbed.kafka_broker import java
from tests.testbed.parts import MissingPartError, cached, run

GO_SOURCES = Path(__file__).parent / "clickhouse_go"
JDBC_SOURCES = Path(__file__).parent / "clickhouse_jdbc"
INSTALL = "ClickHouse's JDBC driver needs Java 17 and Maven; on Debian: apt-get install default-jre-headless maven"
_BUILD_TIMEOUT_S = 1200.0
_FETCH_TIMEOUT_S = 280.0


def go_reader(*, oldest: bool = False) -> Path:
    """The program of clickhouse_go/main.go, built at the first call; errors as `testbed.collector.binary`."""
    modules = "oldest" if oldest else "go"
    made_from = b"".join((GO_SOURCES / name).read_bytes() for name in ("main.go", f"{modules}.mod", f"{modules}.sum"))

    def build(folder: Path) -> None:
        env = {"GOFLAGS": "-buildvcs=false", "CGO_ENABLED": "0"}
        command: list[str | Path] = [
            "nice",
            "-n",
            "10",
            go(),
            "build",
            f"-modfile={modules}.mod",
            "-o",
            folder / "reader",
            ".",
        ]
        run(command, cwd=GO_SOURCES, timeout_s=_BUILD_TIMEOUT_S, env=env)

    return cached(f"clickhouse-{modules}", made_from, build) / "reader"


def oldest_go_reader() -> Path:
    """As `go_reader`, with clickhouse-go 2.43."""
    return go_reader(oldest=True)


def jdbc_reader() -> Path:
    """The folder of the program of clickhouse_jdbc/Reader.java and its jars, made at the first call (15 MB).

    Raises:
        MissingPartError: it is not there, and Java or Maven is missing or too old.
        PartFailedError: Maven or the compiler failed; the message carries what it printed.
    """
    pom, source = JDBC_SOURCES / "pom.xml", JDBC_SOURCES / "Reader.java"

    def build(folder: Path) -> None:
        maven = shutil.which("mvn")
        if maven is None:
            raise MissingPartError(f"{INSTALL} (no mvn found)")
        # Maven writes beside the pom it reads.
        shutil.copy(pom, folder)
        copy = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies"
        fetch: list[str | Path] = [
            maven,
            "-q",
            "-B",
            "-f",
            folder / "pom.xml",
            copy,
            f"-DoutputDirectory={folder / 'jars'}",
        ]
        run(fetch, cwd=folder, timeout_s=_FETCH_TIMEOUT_S)
        # A run-time environment has no javac; Eclipse's compiler is a jar.
        jars = sorted((folder / "jars").glob("*.jar"))
        [compiler] = [jar for jar in jars if jar.name.startswith("ecj-")]
        compile_: list[str | Path] = [
            java(), "-cp", compiler, "org.eclipse.jdt.internal.compiler.batch.Main", "-17",
            "-cp", os.pathsep.join(map(str, jars)), "-d", folder, source,
        ]  # fmt: skip
        run(compile_, cwd=folder, timeout_s=_FETCH_TIMEOUT_S)
        compiler.unlink()

    return cached("clickhouse-jdbc", pom.read_bytes() + source.read_bytes(), build)


def jdbc_command() -> list[str | Path]:
    """What starts the JDBC program; its arguments follow: URL, database, table, properties of the driver."""
    folder = jdbc_reader()
    # The first compiler only: it lives for two seconds.
    return [java(), "-XX:TieredStopAtLevel=1", "-cp", f"{folder}{os.pathsep}{folder / 'jars'}{os.sep}*", "Reader"]

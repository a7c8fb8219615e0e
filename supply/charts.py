"""`python -m supply.charts VERSION`: the chart library of the viewer, renewed out of its npm package.

Apache ECharts is vendored as its authors built it: one ES module, its licences, and `vendored.json` with the version,
the integrity that npm publishes for the package, and a checksum of each file (decision 0024).
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "dashboards" / "viewer" / "static" / "echarts"
RECORD = FOLDER / "vendored.json"
# As ECharts' own package.json says, and what its one file also contains.
LICENSES = {"echarts": "Apache-2.0", "zrender": "BSD-3-Clause", "tslib": "0BSD", "d3": "BSD-3-Clause"}
# The file in the package, and its name here. tslib's notice stands in the module itself; d3's is beside ECharts' own.
TAKEN = {
    "echarts": {
        "dist/echarts.esm.min.js": "echarts.esm.min.js",
        "LICENSE": "LICENSE",
        "NOTICE": "NOTICE",
        "licenses/LICENSE-d3": "LICENSE-d3",
    },
    "zrender": {"LICENSE": "LICENSE-zrender"},
}


def sha256(content: bytes) -> str:
    """In hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def integrity(content: bytes) -> str:
    """As npm writes it."""
    return "sha512-" + base64.b64encode(hashlib.sha512(content).digest()).decode()


def record() -> dict[str, Any]:
    """What `vendored.json` says of the files beside it."""
    read: dict[str, Any] = json.loads(RECORD.read_text())
    return read


def _package(name: str, version: str, folder: Path) -> tuple[dict[str, bytes], str]:
    """The files of a package by their paths, and the package's integrity, which npm has checked."""
    command = ["npm", "pack", "--json", "--ignore-scripts", f"--pack-destination={folder}", f"{name}@{version}"]
    (packed,) = json.loads(subprocess.check_output(command, text=True, timeout=300))
    content = (folder / packed["filename"]).read_bytes()
    if integrity(content) != packed["integrity"]:
        raise ValueError(f"{name}: must have the integrity {packed['integrity']}; got {integrity(content)}")
    with tarfile.open(folder / packed["filename"]) as archive:
        files = {
            member.name.removeprefix("package/"): file.read()
            for member in archive.getmembers()
            if (file := archive.extractfile(member)) is not None
        }
    return files, packed["integrity"]


def renew(version: str) -> dict[str, Any]:
    """Fetch a version and write its files and their record; the record.

    Raises:
        ValueError: a package is not what npm says, or under another licence than the one that was agreed to.
        KeyError: a package has no file of that name any more.
    """
    written: dict[str, bytes] = {}
    packages = []
    versions = {"echarts": version}
    with tempfile.TemporaryDirectory() as folder:
        for name, taken in TAKEN.items():
            files, checked = _package(name, versions[name], Path(folder))
            about = json.loads(files["package.json"])
            if about["license"] != LICENSES[name]:
                raise ValueError(f"{name}: must be under {LICENSES[name]}; got {about['license']}")
            # Exact versions: they are what the one file was built with.
            versions |= about.get("dependencies", {})
            packages.append({"name": name, "version": versions[name], "license": LICENSES[name], "integrity": checked})
            written |= {target: files[source] for source, target in taken.items()}
    packages.append({"name": "tslib", "version": versions["tslib"], "license": LICENSES["tslib"]})
    made = {"packages": packages, "sha256": {name: sha256(content) for name, content in sorted(written.items())}}
    FOLDER.mkdir(exist_ok=True)
    for name, content in written.items():
        (FOLDER / name).write_bytes(content)
    RECORD.write_text(json.dumps(made, indent=2) + "\n")
    return made


if __name__ == "__main__":
    print(json.dumps(renew(sys.argv[1]), indent=2))

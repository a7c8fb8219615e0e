"""What of Grafana's HTTP API a push needs, with its state, for tests.

No package registry has a Grafana server. This one keeps what it is sent, adds fields of its own as Grafana does, and
refuses what Grafana documents that it refuses; it says nothing about whether a Grafana takes our dashboards. For that,
`tests/contract/test_grafana_server.py` runs against a real one where `GRAFANA_URL` names it.
"""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, Any]
_DURATIONS = ("for", "keep_firing_for")
_KNOWN = {
    "uid", "title", "condition", "for", "keep_firing_for", "noDataState", "execErrState", "labels", "data",
    "missingSeriesEvalsToResolve", "annotations", "folderUID", "ruleGroup", "orgID",
}  # fmt: skip


class GrafanaApi:
    """The state, and the server of it. `fails` are statuses that the next requests are answered with, in front of all;
    `refuses` is the method that finds no such thing, though it is there."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.folders: dict[str, dict[str, Any]] = {}
        self.datasources: dict[str, dict[str, Any]] = {}
        self.dashboards: dict[str, dict[str, Any]] = {}
        self.groups: dict[tuple[str, str], dict[str, Any]] = {}
        self.writes: list[str] = []
        self.fails: list[int] = []
        self.refuses = ""
        api = self

        class Connection(BaseHTTPRequestHandler):
            def log_message(self, *args: object) -> None:
                """Nothing is logged."""

            def _answer(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                status, said = api.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
                text = b"" if said is None else said if isinstance(said, bytes) else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            do_GET = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815 (the base class's names)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def answer(self, method: str, path: str, body: Any, authorization: str) -> Answer:
        """Status and body."""
        if self.fails:
            return self.fails.pop(0), {"message": "not now"}
        if method == self.refuses:
            return 404, {"message": "not found"}
        if authorization != f"Bearer {self.token}":
            return 401, {"message": "Invalid API key"}
        parts = urlsplit(path)
        if method != "GET":
            self.writes.append(f"{method} {unquote(parts.path)}")
        steps = [unquote(step) for step in parts.path.removeprefix("/api/").split("/")]
        match method, steps:
            case "GET", ["folders", uid]:
                return _found(self.folders.get(uid))
            case "POST", ["folders"]:
                if body["uid"] in self.folders:
                    return 409, {"message": "a folder with that uid exists"}
                self.folders[body["uid"]] = {**body, "id": len(self.folders) + 1}
                return 200, self.folders[body["uid"]]
            case "GET", ["datasources", "uid", uid]:
                return _found(self.datasources.get(uid))
            case "POST", ["datasources"]:
                self.datasources[body["uid"]] = {**body, "id": 1, "version": 1, "readOnly": False}
                return 200, {"id": 1}
            case "PUT", ["datasources", "uid", uid]:
                self.datasources[uid] = {**body, "id": 1, "version": self.datasources[uid]["version"] + 1}
                return 200, {"id": 1}
            case "GET", ["dashboards", "uid", uid]:
                return _found(self.dashboards.get(uid))
            case "POST", ["dashboards", "db"]:
                return self._save(body)
            case "DELETE", ["dashboards", "uid", uid]:
                return (200, {"title": uid}) if self.dashboards.pop(uid, None) else (404, {"message": "not found"})
            case "GET", ["search"]:
                return 200, self._searched(parse_qs(parts.query))
            case "GET", ["v1", "provisioning", "alert-rules"]:
                return 200, [rule for group in self.groups.values() for rule in group["rules"]]
            case _, ["v1", "provisioning", "folder", folder, "rule-groups", name]:
                return self._group(method, folder, name, body)
        return 404, {"message": f"no such route: {method} {path}"}

    def _save(self, body: Any) -> Answer:
        board, uid = body["dashboard"], body["dashboard"]["uid"]
        if body["folderUid"] not in self.folders:
            return 400, {"message": "folder not found"}
        held = self.dashboards.get(uid)
        if held is not None and not body.get("overwrite"):
            return 412, {"message": "The dashboard has been changed by someone else", "status": "version-mismatch"}
        version = held["dashboard"]["version"] + 1 if held else 1
        saved = {**board, "id": len(self.dashboards) + 1, "version": version}
        self.dashboards[uid] = {"dashboard": saved, "meta": {"folderUid": body["folderUid"], "version": version}}
        return 200, {"uid": uid, "status": "success", "version": version}

    def _searched(self, query: dict[str, list[str]]) -> list[dict[str, Any]]:
        return [
            {"uid": uid, "title": held["dashboard"].get("title"), "tags": held["dashboard"].get("tags", [])}
            for uid, held in self.dashboards.items()
            if held["meta"]["folderUid"] in query["folderUIDs"]
            and set(query["tag"]) <= set(held["dashboard"].get("tags", []))
        ]

    def _group(self, method: str, folder: str, name: str, body: Any) -> Answer:
        held = self.groups.get((folder, name))
        if method == "PUT":
            if not isinstance(body["interval"], int) or body["interval"] % 10:
                return 400, {"message": "interval must be whole tens of seconds"}
            # Grafana knows no other names of a rule, and drops them.
            if any(unknown := set(rule) - _KNOWN for rule in body["rules"]):
                return 400, {"message": f"unknown fields: {sorted(unknown)}"}
            rules = [
                {**rule, "id": number, "isPaused": False, **{name: _prometheus(rule[name]) for name in _DURATIONS}}
                for number, rule in enumerate(body["rules"], 1)
            ]
            self.groups[folder, name] = {**body, "rules": rules}
            return 200, self.groups[folder, name]
        if held is None:
            return 404, {"message": "rule group does not exist"}
        if method == "DELETE":
            del self.groups[folder, name]
            return 204, None
        return 200, held


def _prometheus(duration: str) -> str:
    """As Prometheus writes durations, and Grafana answers them: 300s is 5m, 90s is 1m30s."""
    left, text = int(duration.removesuffix("s")), ""
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        text += f"{left // size}{unit}" if left >= size else ""
        left %= size
    return text or "0s"


def _found(held: dict[str, Any] | None) -> Answer:
    return (200, held) if held is not None else (404, {"message": "not found"})

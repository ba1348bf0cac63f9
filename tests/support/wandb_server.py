"""A W&B server on the loopback interface, with what uploading runs and reading them back needs.

It keeps lines as W&B's does: those sent with an offset replace all from that line on.
"""

import gzip
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

OWNER = "someone"  # of every API key
READING = {"Runs", "Run", "RunHistoryKeys", "RunParquetHistory", "HistoryPage", "RunFiles"}
PAGE = 4  # runs in an answer, however many are asked for


@dataclass
class UploadedRun:
    """What was uploaded of a run."""

    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        """Return the logged rows."""
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", [])]

    @property
    def summary(self) -> dict[str, Any]:
        """Return the last summary."""
        return json.loads(self.lines["wandb-summary.json"][-1])


@contextmanager
def wandb_server() -> Iterator[SimpleNamespace]:
    """Yield the server's `url`, its `runs` by entity/project/id, `refused`, `status` and `asked`.

    Requests that contain `refused` get that HTTP status, by default 400; `asked` lists the GraphQL operations so far.
    """
    state = SimpleNamespace(runs={}, refused="nothing", status=400, asked=[])
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    server.handle_error = lambda *_: None  # a client that ends drops its connections
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    state: SimpleNamespace

    def do_PUT(self) -> None:
        body = self._body()
        run, name = self.path.removeprefix("/storage/").split("?")
        if self.state.refused in self.path:
            return self._answer({}, status=self.state.status)
        self.state.runs[run].files[name] = body
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if self.state.refused in self.path + body.decode(errors="replace"):
            return self._answer({"errors": [{"message": "refused"}]}, status=self.state.status)
        if self.path == "/graphql":
            request = json.loads(body)
            return self._answer({"data": self._graphql(request["query"], request.get("variables") or {})})
        if self.path.endswith("/file_stream"):
            self._stream(self.state.runs["/".join(self.path.split("/")[2:5])], json.loads(body))
        self._answer({})

    def do_GET(self) -> None:
        run, name = self.path.removeprefix("/storage/").split("?")
        content = self.state.runs[run].files[name]
        self._send(content, "application/octet-stream")

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        operation = re.search(r"(query|mutation)\s+(\w+)", query)
        self.state.asked.append(operation[2] if operation else "")
        if self.state.asked[-1] in READING:
            return self._read(self.state.asked[-1], query, variables)
        entity, project = variables.get("entity") or OWNER, variables.get("project")
        run_id = variables.get("name") or variables.get("run")
        path = f"{entity}/{project}/{run_id}"
        bucket = {"id": f"storage of {path}", "name": run_id}
        owner = {"id": "project", "name": project, "entity": {"id": "entity", "name": entity}}
        if "upsertBucket" in query:
            run = self.state.runs.setdefault(path, UploadedRun())
            run.name = variables.get("displayName") or run.name
            run.config = json.loads(variables.get("config") or "null") or run.config
            bucket |= {"displayName": run.name, "project": owner}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            files = [{"name": n, "uploadUrl": f"{self.state.url}/storage/{path}?{n}"} for n in variables["files"]]
            return {"createRunFiles": {"runID": run_id, "uploadHeaders": [], "files": files}}
        if "RunResumeStatus" in query:
            run = self.state.runs.get(path)
            if run is None:
                return {"model": None}
            bucket |= {
                "config": json.dumps(run.config),
                "summaryMetrics": json.dumps(run.summary),
                "tags": [],
                "wandbConfig": '{"t": 1}',
                "historyLineCount": len(run.history),
                "eventsLineCount": 0,
                "logLineCount": 0,
                "historyTail": json.dumps(run.lines["wandb-history.jsonl"][-1:]),
                "eventsTail": "[]",
            }
            return {"model": {**owner, "bucket": bucket}}
        viewer = {"id": "user", "entity": OWNER, "username": OWNER, "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer, "serverInfo": {"features": []}}

    def _read(self, operation: str, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """Answer one of the operations in READING."""
        path = f"{variables.get('entity') or variables.get('entityName')}/{variables['project']}"
        ids = sorted(run.removeprefix(f"{path}/") for run in self.state.runs if run.startswith(f"{path}/"))
        if not ids:
            return {"project": None}
        if operation == "Runs":
            start = int(variables.get("cursor") or 0)
            edges = [
                {"node": self._node(path, ids[at]), "cursor": str(at + 1)}
                for at in range(start, min(start + PAGE, len(ids)))
            ]
            page_info = {"endCursor": str(start + len(edges)), "hasNextPage": start + len(edges) < len(ids)}
            return {
                "project": {
                    "internalId": "1",
                    "runCount": len(ids),
                    "readOnly": False,
                    "runs": {"edges": edges, "pageInfo": page_info},
                }
            }
        run_id = variables.get("name") or variables.get("run") or variables.get("runName")
        run = self.state.runs[f"{path}/{run_id}"]
        steps = {json.loads(line)["_step"]: line for line in run.lines.get("wandb-history.jsonl", [])}
        if operation == "RunHistoryKeys":
            return {"project": {"run": {"historyKeys": {"lastStep": max(steps, default=-1)}}}}
        if operation == "RunParquetHistory":
            return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": []}}}}
        if operation == "HistoryPage":
            lines = [line for step, line in steps.items() if variables["minStep"] <= step < variables["maxStep"]]
            return {"project": {"run": {"history": lines}}}
        if operation == "RunFiles":
            files = [self._file(f"{path}/{run_id}", name) for name in variables["fileNames"] if name in run.files]
            edges = [{"node": file, "cursor": ""} for file in files]
            return {
                "project": {
                    "run": {
                        "fileCount": len(files),
                        "files": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}},
                    }
                }
            }
        return {"project": {"run": self._node(path, run_id)}}

    def _node(self, path: str, run_id: str) -> dict[str, Any]:
        run = self.state.runs[f"{path}/{run_id}"]
        state = "running" if run.exit_code is None else "failed" if run.exit_code else "finished"
        return {
            "id": f"storage of {path}/{run_id}",
            "projectId": 1,
            "name": run_id,
            "displayName": run.name,
            "tags": [],
            "state": state,
            "createdAt": "2026-01-02T03:04:05Z",
            "heartbeatAt": "2026-01-02T04:04:05Z",
            "historyLineCount": len(run.history),
            "config": json.dumps(run.config),
            "summaryMetrics": "{}",
            "systemMetrics": "{}",
            "user": {"name": OWNER, "username": OWNER},
            "readOnly": False,
            "sweepName": None,
        }

    def _file(self, run: str, name: str) -> dict[str, Any]:
        size = len(self.state.runs[run].files[name])
        return {
            "id": name,
            "name": name,
            "url": f"{self.state.url}/storage/{run}?{name}",
            "sizeBytes": size,
            "directUrl": f"{self.state.url}/storage/{run}?{name}",
            "mimetype": "image/png",
            "md5": "",
            "updatedAt": "2026-01-02T03:04:05Z",
        }

    def _stream(self, run: UploadedRun, request: dict[str, Any]) -> None:
        for name, chunk in request.get("files", {}).items():
            run.lines.setdefault(name, [])[chunk["offset"] :] = chunk["content"]
        if request.get("complete"):
            run.exit_code = request["exitcode"]

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        self._send(json.dumps(content).encode(), "application/json", status)

    def _send(self, body: bytes, kind: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass

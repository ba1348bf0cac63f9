"""A W&B server on the loopback, as far as uploads of runs need one, which remembers what arrived.

It keeps lines as W&B's does: those sent with an offset take the place of all from that line on.
"""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

OWNER = "someone"  # of every API key


@dataclass
class UploadedRun:
    """What the server knows of a run."""

    name: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, list[str]] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    @property
    def history(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines.get("wandb-history.jsonl", [])]

    @property
    def summary(self) -> dict[str, Any]:
        return json.loads(self.lines["wandb-summary.json"][-1])


@contextmanager
def wandb_server() -> Iterator[SimpleNamespace]:
    """Yields the server's `url`, its `runs` by entity/project/id, and `refused`: requests with this get a 400."""
    state = SimpleNamespace(runs={}, refused="nothing")
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
            return self._answer({}, status=400)
        self.state.runs[run].files[name] = body
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if self.state.refused in self.path + body.decode(errors="replace"):
            return self._answer({"errors": [{"message": "refused"}]}, status=400)
        if self.path == "/graphql":
            request = json.loads(body)
            return self._answer({"data": self._graphql(request["query"], request.get("variables") or {})})
        if self.path.endswith("/file_stream"):
            self._stream(self.state.runs["/".join(self.path.split("/")[2:5])], json.loads(body))
        self._answer({})

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
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
                "config": json.dumps(run.config), "summaryMetrics": json.dumps(run.summary), "tags": [],
                "wandbConfig": '{"t": 1}', "historyLineCount": len(run.history), "eventsLineCount": 0,
                "logLineCount": 0, "historyTail": json.dumps(run.lines["wandb-history.jsonl"][-1:]), "eventsTail": "[]",
            }  # fmt: skip
            return {"model": {**owner, "bucket": bucket}}
        viewer = {"id": "user", "entity": OWNER, "username": OWNER, "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer, "serverInfo": {"features": []}}

    def _stream(self, run: UploadedRun, request: dict[str, Any]) -> None:
        for name, chunk in request.get("files", {}).items():
            run.lines.setdefault(name, [])[chunk["offset"] :] = chunk["content"]
        if request.get("complete"):
            run.exit_code = request["exitcode"]

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_) -> None:
        pass

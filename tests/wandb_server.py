"""A small W&B server on the standard library: enough of its API for the real client.

It keeps what it was told, so that a test can ask what a person would have seen in the dashboard.
"""

import base64
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "local-" + 40 * "7"


class FakeWandb:
    """`with FakeWandb() as server:` and WANDB_BASE_URL=server.url, WANDB_API_KEY=KEY."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}  # by id: name, config, group, ..., history
        self.files: dict[str, bytes] = {}  # by "run/path"
        self.artifacts: list[dict[str, Any]] = []  # name, type, ..., files
        self.sweeps: list[dict[str, Any]] = []
        self.jobs: list[dict[str, Any]] = []  # what the next agents are told to run
        self.requests: list[str] = []  # operations and paths, in order
        self.keys: set[str] = set()
        self.views: list[dict[str, Any]] = []  # saved workspaces and reports
        self.unknown: set[str] = set()  # operations that this server does not know
        self.silent = False  # accept and never answer
        self.redirect: tuple[int, str] | None = None  # answer everything with this status, place
        self.viewer: dict[str, Any] | None = {  # who the key belongs to
            **{"id": "VXNlcjox", "entity": "tester", "username": "tester", "name": "tester"},
            **{"flags": "{}", "teams": {"edges": []}, "admin": False, "email": ""},
        }
        self.last_words = ""  # the operation that the server dies of
        self.forbidden: set[str] = set()  # operations that the key does not allow
        self.asked = 0  # also by those who got no answer
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.answer(self)

            do_PUT = do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                """A client that hangs up is no news."""

        self.http = Server(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.closed = threading.Event()

    def __enter__(self) -> "FakeWandb":
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.die()

    def die(self) -> None:
        if not self.closed.is_set():
            self.closed.set()
            self.http.shutdown()
            self.http.server_close()

    def environment(self) -> dict[str, str]:
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": KEY, "WANDB_MODE": "online"}

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        with self.lock:
            self.asked += 1
        if self.silent:
            self.closed.wait(60)
            return
        if self.closed.is_set():
            handler.close_connection = True
            return
        given = handler.headers.get("Authorization", "")
        with self.lock:
            if given.startswith("Basic "):
                self.keys.add(base64.b64decode(given[6:]).decode().partition(":")[2])
            if self.redirect is not None:
                handler.send_response(self.redirect[0])
                handler.send_header("Location", self.redirect[1])
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
            if handler.path.endswith("/graphql"):
                content = self._graphql(json.loads(body))
            elif handler.path.endswith("/file_stream"):
                content = self._stream(handler.path.split("/")[-2], json.loads(body))
            else:
                content = self._file(handler.path, body)
        payload = content if isinstance(content, bytes) else json.dumps(content).encode()
        handler.send_response(403 if isinstance(content, dict) and "errors" in content else 200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(payload)))
        handler.end_headers()
        handler.wfile.write(payload)

    def _file(self, path: str, body: bytes) -> Any:
        self.requests.append(path)
        if path.startswith("/artifact/"):
            number, _, name = path.removeprefix("/artifact/").partition("/")
            self.artifacts[int(number)]["files"][name] = body
        elif path.startswith("/upload/"):
            self.files[path.removeprefix("/upload/")] = body
        elif path.startswith("/download/"):
            return self.files[path.removeprefix("/download/")]
        return {}

    def _stream(self, run_id: str, content: dict[str, Any]) -> Any:
        self.requests.append("file_stream")
        run = self.runs[run_id]
        for name, part in content.get("files", {}).items():
            lines = run["lines"].setdefault(name, {})
            for i, line in enumerate(part["content"]):
                lines[part["offset"] + i] = line
        if content.get("complete"):
            run["exit_code"] = content.get("exitcode")
        return {}

    def history(self, run_id: str) -> list[dict[str, Any]]:
        lines = self.runs[run_id]["lines"].get("wandb-history.jsonl", {})
        return [json.loads(lines[i]) for i in sorted(lines)]

    def summary(self, run_id: str) -> dict[str, Any]:
        lines = self.runs[run_id]["lines"].get("wandb-summary.json")
        return json.loads(lines[max(lines)]) if lines else {}

    def metadata(self, run_id: str) -> dict[str, Any]:
        """What a run's overview shows: its command, commit, machine."""
        return json.loads(self.files[f"{run_id}/wandb-metadata.json"])

    def log(self, run_id: str) -> list[str]:
        """The Logs tab, less the times."""
        lines = self.runs[run_id]["lines"].get("output.log", {})
        return [re.sub(r"^(ERROR )?\S+ ", "", lines[i]) for i in sorted(lines)]

    def _graphql(self, request: dict[str, Any]) -> Any:
        query, given = request["query"], request.get("variables") or {}
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        operation = found[1] if found else "anonymous"
        self.requests.append(operation)
        if operation == self.last_words:
            self.die()
        if operation in self.forbidden:
            return {"errors": [{"message": "permission denied"}]}
        method = getattr(self, f"_do_{operation}", None)
        if method is None:
            self.unknown.add(operation)
            return {"data": {}}
        return {"data": method(given)}

    def _do_Viewer(self, given: dict[str, Any]) -> Any:
        return {"viewer": self.viewer}

    def _do_GetDefaultEntity(self, given: dict[str, Any]) -> Any:
        return {"viewer": {"id": "VXNlcjox", "entity": "tester"}}

    def _do_ServerFeaturesQuery(self, given: dict[str, Any]) -> Any:
        return {"serverInfo": {"features": []}}

    def _do_UpsertBucket(self, given: dict[str, Any]) -> Any:
        name = given["name"] or given["id"]
        run = self.runs.setdefault(name, {"lines": {}, "inserted": 0})
        inserted = not run["inserted"]
        run["inserted"] += 1
        run |= {key: value for key, value in given.items() if value is not None}
        if given.get("config"):
            run["config"] = {k: v.get("value") for k, v in json.loads(given["config"]).items()}
        project = given.get("project") or "arcmargin"
        bucket = {
            "id": run_gid(name),
            "name": name,
            "displayName": given.get("displayName") or name,
            "description": None,
            "config": "{}",
            "sweepName": given.get("sweep"),
            "historyLineCount": 0,
            "project": {"id": "UA==", "name": project, "entity": {"id": "RQ==", "name": "tester"}},
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _do_OrganizationCoreWeaveOrganizationID(self, given: dict[str, Any]) -> Any:
        return {"entity": {"organization": {"coreWeaveOrganizationId": None}}}

    def _do_RunResumeStatus(self, given: dict[str, Any]) -> Any:
        run = self.runs.get(given["name"])
        bucket = None
        if run is not None:
            history = self.history(given["name"])
            lines = {name: len(part) for name, part in run["lines"].items()}
            config = {key: {"value": value} for key, value in run.get("config", {}).items()}
            bucket = {
                "id": run_gid(given["name"]),
                "name": given["name"],
                "summaryMetrics": json.dumps(self.summary(given["name"])),
                "displayName": run.get("displayName"),
                "logLineCount": lines.get("output.log", 0),
                "historyLineCount": lines.get("wandb-history.jsonl", 0),
                "eventsLineCount": lines.get("wandb-events.jsonl", 0),
                "historyTail": json.dumps([json.dumps(row) for row in history[-1:]]),
                "eventsTail": "[]",
                "config": json.dumps(config),
                "tags": run.get("tags", []),
                "notes": None,
                "wandbConfig": json.dumps({"t": 1}),  # a run that has begun
            }
        entity = {"id": "RQ==", "name": "tester"}
        return {"model": {"id": "UA==", "name": "arcmargin", "entity": entity, "bucket": bucket}}

    def _do_CreateRunFiles(self, given: dict[str, Any]) -> Any:
        files = [
            {"name": name, "uploadUrl": f"{self.url}/upload/{given['run']}/{name}"}
            for name in given["files"]
        ]
        content = {"runID": run_gid(given["run"]), "uploadHeaders": [], "files": files}
        return {"createRunFiles": content}

    def _do_ArtifactType(self, given: dict[str, Any]) -> Any:
        return {"project": {"artifact": None}}

    def _do_CreateArtifact(self, given: dict[str, Any]) -> Any:
        self.artifacts.append({**given["input"], "files": {}})
        artifact = {"id": str(len(self.artifacts) - 1), "state": "PENDING"}
        artifact["artifactSequence"] = {"id": "Uw==", "latestArtifact": None}
        return {"createArtifact": {"artifact": artifact}}

    def _do_CreateArtifactManifest(self, given: dict[str, Any]) -> Any:
        url = f"{self.url}/artifact/{given['artifactID']}/{given['name']}"
        file = {"id": "Rg==", "uploadUrl": url, "uploadHeaders": []}
        return {"createArtifactManifest": {"artifactManifest": {"id": "TQ==", "file": file}}}

    def _do_CreateArtifactFiles(self, given: dict[str, Any]) -> Any:
        edges = []
        for file in given["input"]["artifactFiles"]:
            url = f"{self.url}/artifact/{file['artifactID']}/{file['name']}"
            node = {"storagePath": file["name"], "uploadUrl": url, "uploadHeaders": []}
            node |= {"uploadMultipartUrls": None, "artifact": {"id": file["artifactID"]}}
            edges.append({"node": node})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _do_CommitArtifact(self, given: dict[str, Any]) -> Any:
        return {"commitArtifact": {"artifact": {"id": given["artifactID"], "digest": "d"}}}

    def _do_Runs(self, given: dict[str, Any]) -> Any:
        wanted = json.loads(given["filters"])
        fields = {"jobType": "jobType", "group": "groupName"}
        found = {
            name: run
            for name, run in self.runs.items()
            if all(run.get(fields[key]) == value for key, value in wanted.items())
        }
        edges = [{"node": self._run_node(name), "cursor": name} for name in found]
        page = {"endCursor": None, "hasNextPage": False}
        runs = {"edges": edges, "pageInfo": page}
        project = {"internalId": "1", "runCount": len(found), "readOnly": False, "runs": runs}
        return {"project": project if given["project"] == "arcmargin" else None}

    def _run_node(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        state = {None: "running", 0: "finished"}.get(run.get("exit_code"), "failed")
        absent = ("description", "notes", "commit", "sweepName", "heartbeatAt")
        node: dict[str, Any] = {key: run.get(key) for key in absent}
        node |= {"id": run_gid(name), "name": name, "displayName": run.get("displayName")}
        node |= {"state": state, "group": run.get("groupName"), "jobType": run.get("jobType")}
        node |= {"tags": run.get("tags", []), "readOnly": False, "historyLineCount": 0}
        user = {"name": "tester", "username": "tester"}
        return node | {"createdAt": "2026-01-01T00:00:00", "user": user, "projectId": "1"}

    def _do_RunFiles(self, given: dict[str, Any]) -> Any:
        edges = []
        for path, content in self.files.items():
            run, _, name = path.partition("/")
            if run == given["name"] and name in given["fileNames"]:
                url = f"{self.url}/download/{path}"
                node = {"id": path, "name": name, "url": url, "directUrl": url, "md5": ""}
                node |= {"sizeBytes": str(len(content)), "mimetype": "", "updatedAt": None}
                edges.append({"node": node, "cursor": path})
        page = {"endCursor": None, "hasNextPage": False}
        files = {"edges": edges, "pageInfo": page}
        return {"project": {"internalId": "1", "run": {"fileCount": len(edges), "files": files}}}

    def _do_UpsertSweep(self, given: dict[str, Any]) -> Any:
        self.sweeps.append(given)
        project = {"id": "UA==", "name": "arcmargin", "entity": {"id": "RQ==", "name": "tester"}}
        sweep = {"id": "U3c=", "name": "sw1", "config": given["config"], "project": project}
        return {"upsertSweep": {"sweep": sweep, "configValidationWarnings": []}}

    def _do_SweepWithRuns(self, given: dict[str, Any]) -> Any:
        sweep = {"id": "U3c=", "name": "sw1", "state": "RUNNING", "runs": {"edges": []}}
        return {"project": {"sweep": sweep | {"config": self.sweeps[-1]["config"]}}}

    def _do_CreateAgent(self, given: dict[str, Any]) -> Any:
        return {"createAgent": {"agent": {"id": "QWc="}}}

    def _do_Heartbeat(self, given: dict[str, Any]) -> Any:
        """The next job, once the one before has ended; after the last the agent may go."""
        commands: list[dict[str, Any]] = []
        if not json.loads(given["runState"]):
            commands = [self.jobs.pop(0) if self.jobs else {"type": "exit"}]
        content = {"agent": {"id": "QWc="}, "commands": json.dumps(commands)}
        return {"agentHeartbeat": content}

    def _do_ProjectInternalId(self, given: dict[str, Any]) -> Any:
        return {"project": {"id": "UA==", "internalId": "UHJvamVjdDox"}}

    def _do_GetProjects(self, given: dict[str, Any]) -> Any:
        node = {"id": "UA==", "name": "arcmargin", "entityName": "tester", "isBenchmark": False}
        node |= {"createdAt": "2026-01-01T00:00:00", "user": None}
        page = {"endCursor": None, "hasNextPage": False}
        return {"models": {"edges": [{"cursor": "x", "node": node}], "pageInfo": page}}

    def _do_upsertView(self, given: dict[str, Any]) -> Any:
        project = {"id": "UA==", "name": "arcmargin", "entityName": "tester"}
        answer = self._do_UpsertView2(given)
        answer["upsertView"]["view"] |= {"project": project, "updatedAt": "2026-01-01T00:00:00"}
        return answer

    def _do_UpsertView2(self, given: dict[str, Any]) -> Any:
        self.views.append(given)
        view = {
            key: given.get(key) for key in ("type", "name", "displayName", "spec", "description")
        }
        return {"upsertView": {"view": view | {"id": "Vmlldw=="}, "inserted": True}}


def run_gid(name: str) -> str:
    return base64.b64encode(name.encode()).decode()

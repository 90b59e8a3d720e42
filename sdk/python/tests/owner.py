# SPDX-License-Identifier: Apache-2.0

"""A real owner process on free ports in a data directory of its own, and gateways that misbehave."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).resolve().parents[3]
CONTRACT = ROOT / "testdata" / "contract"
BINARY = os.environ.get("SALLYPORT_BIN", str(ROOT / "bin" / "sallyport"))


class Owner:
    def __init__(self, policy: Path | None = CONTRACT / "policy", config: str = "") -> None:
        self.home = Path(tempfile.mkdtemp(prefix="sp"))
        lines = ["version: 1", "ledger: {segment_bytes: 8388608}"]
        if policy is not None:
            lines.append(f"policy: {{dir: {policy}}}")
        folder = self.home / "config" / "sallyport"
        folder.mkdir(parents=True)
        (folder / "sallyport.yaml").write_text("\n".join(lines) + "\n" + config)
        self.env = {"HOME": str(self.home), "XDG_STATE_HOME": str(self.home / "state"), "XDG_CONFIG_HOME": str(self.home / "config"),
                    "PATH": os.environ["PATH"], "SALLYPORT_GATEWAY_FACTS_DEADLINE": "30s"}
        out = self.home / "up.json"
        with out.open("wb") as f:
            self.process = subprocess.Popen([BINARY, "up", "--listen", "127.0.0.1:0", "--listen-admin", "127.0.0.1:0", "--json"],
                                            stdout=f, stderr=f, stdin=subprocess.DEVNULL, env=self.env)
        until = time.monotonic() + 30
        while True:
            try:
                said = json.loads(out.read_text())
                break
            except ValueError:
                if time.monotonic() > until or self.process.poll() is not None:
                    raise RuntimeError(f"the owner does not come up: {out.read_text()}") from None
                time.sleep(0.01)
        self.agents, self.people = said["agents"], said["people"]
        self.admin = Path(said["admin_token_file"]).read_text().strip()
        self.http = httpx.Client(trust_env=False, timeout=30)
        self.count = itertools.count()
        self.approver = self.token({"name": "ann", "scopes": ["approver", "viewer", "auditor"]})

    def close(self) -> None:
        self.http.close()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(30)
        shutil.rmtree(self.home, ignore_errors=True)

    def call(self, method: str, path: str, token: str, body: Any = None, **params: Any) -> Any:
        got = self.http.request(method, self.people + path, headers={"Authorization": f"Bearer {token}"}, json=body, params=params)
        assert got.status_code == 200, f"{method} {path}: {got.status_code} {got.text}"
        return got.json()

    def token(self, body: dict[str, Any]) -> str:
        return str(self.call("POST", "/v1/tokens", self.admin, {"ttl": "1h", **body})["token"])

    def harness(self, agent: str = "") -> str:
        """A token with agent and host for an agent, which is made if it is not there."""
        agent = agent or f"bot-{next(self.count)}"
        self.http.post(self.people + "/v1/agents", headers={"Authorization": f"Bearer {self.admin}"}, json={"id": agent, "owner": "ann"})
        return self.token({"agent": agent, "user": "ann", "scopes": ["agent", "host"]})

    def answer(self, how: str, ticket: str, comment: str = "") -> None:
        """Approves or denies as a person, or waits until the question has expired."""
        headers = {"Authorization": f"Bearer {self.approver}"}
        if how in ("approve", "deny"):
            shown = self.http.get(f"{self.people}/v1/approvals/{ticket}", headers=headers)
            got = self.http.post(f"{self.people}/v1/approvals/{ticket}/{how}", headers={**headers, "If-Match": shown.headers["ETag"]},
                                 json={"comment": comment} if comment else {})
            assert got.status_code == 200, got.text
        elif how == "expire":
            while self.call("GET", f"/v1/approvals/{ticket}", self.approver)["state"] == "pending":
                time.sleep(0.05)

    def pending(self, session: str) -> list[str]:
        return [a["id"] for a in self.call("GET", "/v1/approvals", self.approver, session=session)["items"]]

    def cli(self, *args: str) -> str:
        return subprocess.run([BINARY, *args], env=self.env, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout

    def records(self, session: str) -> list[dict[str, Any]]:
        return sorted(self.call("GET", "/v1/records", self.approver, session=session, limit=200)["items"], key=lambda r: int(r["index"]))


class Bad:
    """A gateway of the kind that a case names: it forwards to a real one, or not."""

    def __init__(self, kind: str, to: str, strange: dict[str, Any] | None = None) -> None:
        bad = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                action = self.path == "/v1/actions"
                if kind == "strange" and action and strange is not None:
                    return self.reply(strange["status"], strange["body"].encode(), strange.get("headers", {}))
                if kind == "no-outcome" and self.path.endswith("/outcome"):
                    return self.reply(503, b'{"code":"unrecorded","status":503}', {})
                got = bad.http.request(self.command, to + self.path, content=body or None,
                                       headers={"Authorization": self.headers["Authorization"], "Content-Type": "application/json"})
                if kind == "loses" and (action or self.path.endswith("/outcome")):
                    self.close_connection = True  # done, but nobody hears of it
                    return None
                return self.reply(got.status_code, got.content, {})

            do_GET = do_POST

            def reply(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {"Content-Type": "application/json", "Content-Length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = httpx.Client(trust_env=False)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,))
        self.thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
        self.http.close()


def free_url() -> str:
    """An address on which nobody listens."""
    import socket

    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{s.getsockname()[1]}"

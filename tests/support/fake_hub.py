"""A model hub on this machine: what `huggingface_hub` asks the real one, and its failures."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Serves one model folder as `acme/tiny`, revision `main`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and range of every request so far."""
        self.breaks: dict[str, int] = {}
        """How many bytes of a file are sent before the connection breaks, once."""
        self.down: set[str] = set()
        """Files whose download answers with an internal error."""
        self.sent: dict[str, bytes] = {}
        """Files whose contents are others than the checksum says."""
        self.address = ""

    def fetched(self, file: str) -> list[str | None]:
        """The ranges that were asked for when this file was downloaded."""
        path = f"/acme/tiny/resolve/{COMMIT}/{file}"
        return [wanted for method, at, wanted in self.requests if (method, at) == ("GET", path)]

    def files(self) -> list[dict[str, Any]]:
        """All files as the hub lists them; weights are large files with a checksum."""
        listed = []
        for path in sorted(self.folder.iterdir()):
            content = path.read_bytes()
            file: dict[str, Any] = {"name": path.name, "size": len(content), "oid": _sha1(content)}
            if path.suffix == ".safetensors":
                file["sha256"] = hashlib.sha256(content).hexdigest()
            listed.append(file)
        return listed


@contextmanager
def serving(folder: Path) -> Iterator[FakeHub]:
    """Run a hub while the context lasts."""
    hub = FakeHub(folder)
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    commit = COMMIT

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        path = unquote(url.path)
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        match path.removeprefix("/").split("/"):
            case ["api", "models", "acme", "tiny", "revision", "main" | self.commit]:
                self._json(_info(self.hub.files()))
            case ["api", "models", "acme", "tiny", "tree", self.commit]:
                self._json(_tree(self.hub.files()))
            case ["acme", "tiny", "resolve", self.commit, file]:
                self._file(file)
            case ["api", "models", "acme", "tiny", *_]:
                self._refuse(404, "RevisionNotFound")
            case _:
                self._refuse(404, "RepoNotFound")

    def do_HEAD(self) -> None:
        self.do_GET()

    def _file(self, name: str) -> None:
        found = [file for file in self.hub.files() if file["name"] == name]
        if self.command == "GET" and name in self.hub.down:
            return self._refuse(500, "InternalError")
        if not found:
            return self._refuse(404, "EntryNotFound")
        content = self.hub.sent.get(name, (self.hub.folder / name).read_bytes())
        wanted = self.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted else 0
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", f'"{found[0].get("sha256", found[0]["oid"])}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Accept-Ranges", "bytes")
        self.end_headers()
        if self.command == "HEAD":
            return None
        end = self.hub.breaks.pop(name, len(content))
        self.wfile.write(content[start:end])
        return None

    def _json(self, data: Any) -> None:
        body = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass


def _info(files: list[dict[str, Any]]) -> dict[str, Any]:
    siblings = [
        {"rfilename": file["name"], "size": file["size"], "blobId": file["oid"]} | _lfs(file)
        for file in files
    ]
    return {"id": "acme/tiny", "sha": COMMIT, "private": False, "siblings": siblings}


def _tree(files: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"type": "file", "path": file["name"], "size": file["size"], "oid": file["oid"]}
        | _lfs(file)
        for file in files
    ]


def _lfs(file: dict[str, Any]) -> dict[str, Any]:
    if "sha256" not in file:
        return {}
    pointer = {"sha256": file["sha256"], "oid": file["sha256"]}
    return {"lfs": pointer | {"size": file["size"], "pointerSize": 134}}


def _sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()

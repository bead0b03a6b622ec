"""A stand-in for the Hugging Face Hub on 127.0.0.1: what datasets and huggingface_hub ask it for."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Tree = dict[str, bytes]
"""Content of each file, by path."""


def digest(content: bytes) -> str:
    """As long as git's."""
    return blake2b(content, digest_size=20).hexdigest()


@dataclass
class Repository:
    """A dataset.

    Attributes:
        trees: what is in it, by commit.
        refs: commits by branch or tag.
        gated: whether files are for those only who have asked.
        size: bytes that each file is said to have, if not as many as it has.
        meanwhile: what is pushed once somebody has been told which commit a revision is.
    """

    trees: dict[str, Tree] = field(default_factory=dict)
    refs: dict[str, str] = field(default_factory=dict)
    gated: bool = False
    size: int | None = None
    meanwhile: Tree | None = None

    def push(self, tree: Tree, branch: str = "main") -> str:
        """The hash of a new commit, which ``branch`` names from now on."""
        commit = digest(f"{len(self.trees)}{sorted(tree)}".encode())
        self.trees[commit], self.refs[branch] = tree, commit
        return commit

    def entries(self, commit: str) -> list[dict[str, Any]]:
        """What is told of each file."""
        return [
            {
                "type": "file",
                "path": path,
                "size": self.size or len(content),
                "oid": digest(content),
            }
            for path, content in self.trees[commit].items()
        ]


@dataclass
class Hub:
    """Datasets by OWNER/NAME, what has been asked for, and whether every answer is 503."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    busy: bool = False

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Answer requests; the address."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        server.hub = self  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        hub: Hub = self.server.hub  # type: ignore[attr-defined]
        parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
        hub.requests.append(f"{self.command} {self.path}")
        if "datasets" not in parts[:2]:
            return self.send(404)
        owner, name, *asked = parts[parts.index("datasets") + 1 :]
        repository = hub.repositories.get(f"{owner}/{name}")
        if hub.busy or repository is None:
            return self.send(503 if hub.busy else 401)
        what, revision, *path = asked or ("revision", "main")
        commit = repository.refs.get(revision, revision)
        if commit not in repository.trees:
            return self.send(404, error="RevisionNotFound")
        if what == "resolve":
            return self.file(repository, commit, "/".join(path))
        if what == "tree":
            return self.tree(repository.entries(commit), "".join(f"{part}/" for part in path))
        if what == "paths-info":
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            return self.json(
                [e for e in repository.entries(commit) if e["path"] in parse_qs(body)["paths"]]
            )
        if tree := repository.meanwhile:
            repository.meanwhile = None
            repository.push(tree)
        return self.json({"id": f"{owner}/{name}", "sha": commit, "siblings": []})

    do_HEAD = do_POST = do_GET

    def file(self, repository: Repository, commit: str, path: str) -> None:
        if repository.gated:
            return self.send(401, error="GatedRepo")
        content = repository.trees[commit].get(path)
        if content is None:
            return self.send(404, error="EntryNotFound", **{"X-Repo-Commit": commit})
        etag = f'"{digest(content)}"'
        return self.send(200, content, **{"X-Repo-Commit": commit, "ETag": etag})

    def tree(self, entries: list[dict[str, Any]], folder: str) -> None:
        """What lies in a folder, or below it as well."""
        below = [entry for entry in entries if entry["path"].startswith(folder)]
        if not below:
            return self.send(404, error="EntryNotFound")
        deep = "recursive=true" in self.path.lower()
        direct = [e for e in below if deep or "/" not in e["path"].removeprefix(folder)]
        heads = {e["path"].removeprefix(folder).split("/")[0] for e in below if e not in direct}
        folders = [{"type": "directory", "path": f"{folder}{head}", "oid": head} for head in heads]
        return self.json(direct + folders)

    def json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode())

    def send(self, code: int, body: bytes = b"", error: str = "", **headers: str) -> None:
        self.send_response(code)
        for key, value in {**headers, "X-Error-Code": error}.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass

"""A model hub on this machine: the few answers of the real one that huggingface_hub needs, over real HTTP.

Answers ``/api/models/<repository>[/revision/<revision>]`` and ``/<repository>/resolve/<revision>/<file>`` with the headers of
the real hub; large files are redirected to a second server, as to a content delivery network. And a small encoder of texts, as
publishers lay theirs out.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import safetensors.numpy
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

LARGE_BYTES = 1000
TOKEN = "hf_of_a_reader"


@dataclass
class Repository:
    """A repository: files by revision name, who may read it, what goes wrong with it."""

    files: dict[str, bytes]
    access: str = "public"  # public | private | gated
    licence: str | None = None
    older: dict[str, dict[str, bytes]] = field(default_factory=dict)
    cut: dict[str, int] = field(default_factory=dict)  # file: how many answers break off in the middle
    readers: set[str] = field(default_factory=set)
    claimed_sizes: dict[str, int] = field(default_factory=dict)  # sizes that the list of files gives instead

    def at(self, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """(commit, files) of a branch, tag or commit."""
        named = {"main": self.files, **self.older}
        by_commit = {commit_of(files): files for files in named.values()}
        files = named.get(revision) or by_commit.get(revision)
        if files is None:
            return None
        is_commit = re.fullmatch("[0-9a-f]{40}", revision) is not None
        return (revision if is_commit else commit_of(files)), files


def commit_of(files: dict[str, bytes]) -> str:
    """40 hex digits that change with the files."""
    digest = hashlib.sha1()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + files[name])
    return digest.hexdigest()


@dataclass
class FakeHub:
    """What is on the hub, and what was asked of it."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    tokens_at_cdn: list[str | None] = field(default_factory=list)
    n_calls: int = 0  # of any kind
    status: int | None = None  # answered to everything, where it is set
    interrupt: str | None = None  # a file that gets no answer at all
    lie: dict[str, bytes] = field(default_factory=dict)  # what is sent for a file in place of its content
    url: str = ""
    cdn_url: str = ""

    def downloaded(self) -> list[str]:
        """Files whose content was sent, whole or not, in order."""
        return [line.removeprefix("GET ") for line in self.requests if line.startswith("GET ")]

    @contextmanager
    def serving(self) -> Iterator[FakeHub]:
        with _server(self, _Hub) as self.url, _server(self, _Cdn) as self.cdn_url:
            yield self


@contextmanager
def _server(hub: FakeHub, kind: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (kind,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Answers(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def _is_unanswered(self, path: str) -> bool:
        self.hub.n_calls += 1
        if self.hub.interrupt is not None and path.endswith(self.hub.interrupt):
            self.close_connection = True
            return True
        return False

    def _send(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", headers.get("Content_Length", str(len(content))))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def _send_file(self, repository: Repository, name: str, content: bytes, **headers: str) -> None:
        begin = 0
        if asked := self.headers.get("Range"):
            begin = int(asked.removeprefix("bytes=").split("-")[0])
        if self.command == "GET":
            self.hub.requests.append(f"GET {name}")
        cuts = repository.cut.get(name, 0)
        part = self.hub.lie.get(name, content)[begin:]
        if self.command == "GET" and cuts:
            repository.cut[name] = cuts - 1
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(part)))
            self.end_headers()
            self.wfile.write(part[: len(part) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        if begin:
            headers["Content_Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._send(206 if begin else 200, part, **headers)


class _Hub(_Answers):
    def do_GET(self) -> None:
        path = urlsplit(self.path).path.strip("/")
        if self._is_unanswered(path):
            return
        if self.hub.status is not None:
            self.hub.requests.append(f"{self.command.lower()} {path}")
            self._send(self.hub.status)
        elif path.startswith("api/models/"):
            self.hub.requests.append(f"api {path.removeprefix('api/models/')}")
            name, _, revision = path.removeprefix("api/models/").partition("/revision/")
            self._answer(name, unquote(revision) or "main", self._describe)
        else:
            name, _, rest = path.partition("/resolve/")
            revision, _, file = rest.partition("/")
            self._answer(name, unquote(revision), lambda *found: self._resolve(unquote(file), *found))

    def _answer(
        self, name: str, revision: str, answer: Callable[[Repository, str, dict[str, bytes]], None]
    ) -> None:
        repository = self.hub.repositories.get(name)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        known = token in {TOKEN, *(repository.readers if repository else ())}
        if token and not known:
            self._refuse(401, "", "Invalid credentials in Authorization header")
        elif repository is None or (
            repository.access == "private" and token not in repository.readers | {TOKEN}
        ):
            self._refuse(404 if token else 401, "RepoNotFound", "Repository not found")
        elif repository.access == "gated" and answer != self._describe and token not in repository.readers:
            self._refuse(403 if token else 401, "GatedRepo", f"Access to model {name} is restricted.")
        elif (found := repository.at(revision)) is None:
            self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        else:
            answer(repository, *found)

    def _refuse(self, status: int, code: str, message: str) -> None:
        headers = {"X_Error_Message": message} | ({"X_Error_Code": code} if code else {})
        self._send(
            status, json.dumps({"error": message}).encode(), Content_Type="application/json", **headers
        )

    def _describe(self, repository: Repository, commit: str, files: dict[str, bytes]) -> None:
        sizes = {name: len(content) for name, content in files.items()} | repository.claimed_sizes
        siblings = [{"rfilename": name, "size": size} for name, size in sizes.items()]
        answer = {
            "id": "owner/name",
            "modelId": "owner/name",
            "sha": commit,
            "siblings": siblings,
            "tags": [],
        }
        if repository.licence:
            answer["cardData"] = {"license": repository.licence}
        self._send(200, json.dumps(answer).encode(), Content_Type="application/json")

    def _resolve(self, file: str, repository: Repository, commit: str, files: dict[str, bytes]) -> None:
        if file not in files:
            self._send(
                404, X_Error_Code="EntryNotFound", X_Error_Message="Entry not found", X_Repo_Commit=commit
            )
            return
        content = files[file]
        etag = hashlib.sha256(content).hexdigest()
        if len(content) < LARGE_BYTES:
            self._send_file(repository, file, content, ETag=f'"{etag}"', X_Repo_Commit=commit)
            return
        name = next(name for name, one in self.hub.repositories.items() if one is repository)
        self._send(
            302,
            Location=f"{self.hub.cdn_url}/{name}/{commit}/{file}",
            X_Repo_Commit=commit,
            X_Linked_ETag=f'"{etag}"',
            X_Linked_Size=str(len(content)),
        )


class _Cdn(_Answers):
    def do_GET(self) -> None:
        self.hub.tokens_at_cdn.append(self.headers.get("Authorization"))
        path = unquote(urlsplit(self.path).path.strip("/"))
        if self._is_unanswered(path):
            return
        for name, repository in self.hub.repositories.items():
            if path.startswith(f"{name}/"):
                commit, _, file = path.removeprefix(f"{name}/").partition("/")
                found = repository.at(commit)
                if found is not None and file in found[1]:
                    self._send_file(repository, file, found[1][file])
                    return
        self._send(404)


def bert_files(seed: int = 0) -> dict[str, bytes]:
    """A BERT of two layers with random weights, in the layout of sentence-transformers."""
    rng = np.random.default_rng(seed)
    width, inner = 32, 64
    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "a",
        "b",
        "c",
        "d",
        "e",
        "f",
        "the",
        "fox",
        "jumps",
        "over",
        "dogs",
    ]
    weights: dict[str, Any] = {}

    def dense(name: str, n_out: int, n_in: int) -> None:
        weights[f"{name}.weight"] = rng.normal(0, 0.2, (n_out, n_in)).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.1, n_out).astype(np.float32)

    def norm(name: str) -> None:
        weights[f"{name}.weight"] = rng.normal(1, 0.1, width).astype(np.float32)
        weights[f"{name}.bias"] = rng.normal(0, 0.1, width).astype(np.float32)

    for name, n in (("word", len(words)), ("position", 16), ("token_type", 2)):
        table = rng.normal(0, 1, (n, width)).astype(np.float32)
        weights[f"embeddings.{name}_embeddings.weight"] = table
    norm("embeddings.LayerNorm")
    for layer in range(2):
        at = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            dense(f"{at}.attention.self.{part}", width, width)
        dense(f"{at}.attention.output.dense", width, width)
        norm(f"{at}.attention.output.LayerNorm")
        dense(f"{at}.intermediate.dense", inner, width)
        dense(f"{at}.output.dense", width, inner)
        norm(f"{at}.output.LayerNorm")
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 16,
        "type_vocab_size": 2,
        "vocab_size": len(words),
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "pad_token_id": 0,
        "position_embedding_type": "absolute",
    }
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
    ]
    return {
        "model.safetensors": safetensors.numpy.save(weights),
        "config.json": json.dumps(config).encode(),
        "modules.json": json.dumps(modules).encode(),
        "1_Pooling/config.json": json.dumps({"pooling_mode_mean_tokens": True}).encode(),
        "sentence_bert_config.json": b'{"max_seq_length": 12, "do_lower_case": false}',
        "tokenizer.json": _tokenizer(words),
        "vocab.txt": b"not needed",
        "pytorch_model.bin": b"a pickle" * 1000,
    }


def _tokenizer(words: list[str]) -> bytes:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    text: str = tokenizer.to_str()
    return text.encode()

"""A schema registry for tests: the two questions that a reader asks, answered over real HTTP."""

import base64
import json
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any

import fastavro


@dataclass
class RegistryServer:
    """Schemas by their numbers. `asked` are the paths of every request; `fails` answers that many with 500."""

    schemas: dict[int, dict[str, Any]] = field(default_factory=dict)
    subjects: dict[tuple[str, int], int] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    login: str = ""
    fails: int = 0
    url: str = ""

    def register(self, number: int, schema: Any, references: Sequence[tuple[str, str, int]] = ()) -> None:
        """Keeps an Avro schema; a reference is the type's name, the subject and its version."""
        named = [{"name": name, "subject": subject, "version": version} for name, subject, version in references]
        self.schemas[number] = {"schema": json.dumps(schema), **({"references": named} if named else {})}
        self.subjects[(f"s{number}", 1)] = number

    def take(self, text: str) -> int:
        """The number of a schema that somebody registers."""
        for number, kept in self.schemas.items():
            if kept["schema"] == text:
                return number
        number = max(self.schemas, default=0) + 1
        self.register(number, json.loads(text))
        return number

    def answer(self, path: str, login: str) -> tuple[int, Mapping[str, Any]]:
        self.asked.append(path)
        if self.fails:
            self.fails -= 1
            return 500, {"error_code": 50001, "message": "the store is starting"}
        if login != self.login:
            return 401, {"error_code": 401, "message": "Unauthorized"}
        parts = path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["schemas", "ids"] and int(parts[2]) in self.schemas:
            return 200, self.schemas[int(parts[2])]
        if parts[0] == "subjects" and (parts[1], int(parts[3])) in self.subjects:
            number = self.subjects[(parts[1], int(parts[3]))]
            return 200, {"subject": parts[1], "id": number, "version": int(parts[3]), **self.schemas[number]}
        return 404, {"error_code": 40403, "message": "Schema not found"}


@contextmanager
def registry(login: str = "") -> Iterator[RegistryServer]:
    """A registry; `login` is `user:password`."""
    kept = RegistryServer(login=login)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization", "").removeprefix("Basic ")
            status, content = kept.answer(self.path, base64.b64decode(given).decode())
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            kept.asked.append(self.path)
            body = json.dumps({"id": kept.take(sent["schema"])}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    kept.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def encoded(number: int, schema: Any, record: Any) -> bytes:
    """A message as Confluent's serializers write it."""
    stream = BytesIO()
    fastavro.schemaless_writer(stream, fastavro.parse_schema(schema), record)
    return struct.pack(">BI", 0, number) + stream.getvalue()

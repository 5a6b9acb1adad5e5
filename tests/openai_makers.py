"""A small OpenAI-compatible server for tests: what it was asked is kept in SEEN."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SEEN: list[tuple[str, dict[str, object], str | None]] = []


class Server(BaseHTTPRequestHandler):
    """Says back what it was asked, in capitals. "busy": 503 at first. "odd": no text. "long": 400. Asked for a letter: B."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        asked = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        first = not any(b.get("messages") == body.get("messages") for _, b, _ in SEEN)
        SEEN.append((self.path, body, self.headers.get("Authorization")))
        if body["model"] == "unknown":
            return self._say(404, {"error": "no such model"})
        if asked == "busy" and first:
            return self._say(503, {"error": "busy"})
        if asked == "long":
            return self._say(400, {"error": "too long"})
        if body.get("stream"):
            pieces = [{"choices": [{"delta": {"content": p}}]} for p in ("Hel", "lo")]
            return self._raw("".join(f"data: {json.dumps(p)}\n\n" for p in pieces) + "data: [DONE]\n\n")
        said = "(B)" if asked.endswith("nothing else.") else asked.upper()
        choice = {"text": said} if "prompt" in body else {"message": {"content": said}}
        self._say(200, {} if asked == "odd" else {"choices": [{**choice, "finish_reason": "length"}]})

    def _say(self, status: int, body: object) -> None:
        self._raw(json.dumps(body), status)

    def _raw(self, body: str, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[str]:
    """The URL of a server that runs for as long."""
    SEEN.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        server.server_close()

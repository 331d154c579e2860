"""A receiver of webhooks, on a port of its own."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from patience import PATIENCE

SECRET = "T0P-53CR3T"
"""A part of the receiver's URL."""


class Receiver:
    """`got` are the bodies that it took; it answers with `status`."""

    def __init__(self) -> None:
        self.got: list[tuple[str, Any]] = []
        self.status = 200
        self.asked = 0
        self._changed = threading.Condition()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.status)
                if receiver.status == 302:
                    self.send_header("Location", receiver.url("elsewhere"))
                self.send_header("Content-Length", "0")
                self.end_headers()
                receiver.note(self.path, body)

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def note(self, path: str, body: bytes) -> None:
        with self._changed:
            self.asked += 1
            if self.status == 200:
                self.got.append((path.rpartition("/")[2], json.loads(body)))
            self._changed.notify_all()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{SECRET}/{name}"

    def of(self, name: str) -> list[Any]:
        return [body for path, body in self.got if path == name]

    def wait(self, asked: int) -> None:
        """Until it was asked so often."""
        end = time.monotonic() + PATIENCE
        with self._changed:
            while self.asked < asked:
                assert self._changed.wait(end - time.monotonic()), f"asked {self.asked} times, not {asked}"

    def __enter__(self) -> Receiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def receiving() -> Iterator[Receiver]:
    with Receiver() as receiver:
        yield receiver

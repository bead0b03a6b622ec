"""Who is told of alarms, in tests."""

import http.server
import json
import threading
from typing import Any


class Receiver:
    """Answers with ``codes`` in turn, and with ``location`` if set; keeps what it got."""

    def __init__(self) -> None:
        self.codes, self.got = list[int](), list[tuple[dict[str, str], Any]]()
        self.location = ""
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                receiver.got.append(({**self.headers, "path": self.path}, body))
                self.send_response(receiver.codes.pop(0) if receiver.codes else 200)
                if receiver.location:
                    self.send_header("Location", receiver.location)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

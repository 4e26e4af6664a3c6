"""A model server without a model: starts in 0.1 s, answers what its model's `behaviour.json` says. For tests only.

`{"answer": "one", "status": 200, "delay_s": 0, "exit": 3, "is_ready": true}`; every key may be missing.
It prints the id of each request.
"""

import argparse
import json
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--model_name", required=True)
    parser.add_argument("--model_dir", required=True, type=Path)
    parser.add_argument("--http_port", required=True, type=int)
    parser.add_argument("--greeting", default="")
    arguments = parser.parse_args()
    behaviour = json.loads((arguments.model_dir / "behaviour.json").read_text())
    if "exit" in behaviour:
        sys.exit(f"the weights are for another network (exit {behaviour['exit']})")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    served = {"behaviour": behaviour, "greeting": arguments.greeting, "model_name": arguments.model_name}
    handler = type("Handler", (_Handler,), served)
    server = ThreadingHTTPServer(("127.0.0.1", arguments.http_port), handler)
    server.daemon_threads = True
    server.serve_forever()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # headers and body in one write: a kill in between would truncate an answer
    behaviour: dict[str, Any]
    greeting: str
    model_name: str

    def do_GET(self) -> None:
        if self.path.startswith("/v2/models/") and self.path != f"/v2/models/{self.model_name}/ready":
            self._answer(404, {"error": f"the model here is {self.model_name}"})
        else:
            self._answer(200 if self.behaviour.get("is_ready", True) else 503, {"ready": True})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        os.write(1, f"request {self.headers['x-request-id']}\n".encode())  # one write: requests come in threads
        time.sleep(self.behaviour.get("delay_s", 0))
        body = {"answer": self.behaviour.get("answer", ""), "greeting": self.greeting}
        self._answer(self.behaviour.get("status", 200), body)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    main()

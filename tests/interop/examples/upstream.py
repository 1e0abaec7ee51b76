"""A vendor that is not there: answers POST as the first message says, slowly, and keeps what became of each answer.

tokens=40 pause_ms=20            so many deltas of one token, then what they took, as OpenAI streams
tokens=40 cut=10                 breaks off after ten
tokens=40 crlf=1                 ends its lines with CR LF
tokens=40 think_ms=30000         says nothing at all for so long
file=openai_chat.json            that body of testdata, a line at a time if it is a stream
status=500                       fails; 307 sends elsewhere
"""

import json
import pathlib
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TESTDATA = pathlib.Path(__file__).resolve().parents[3] / "client/examples/testdata"
USAGE = {
    "prompt_tokens": 1163,
    "prompt_tokens_details": {"cached_tokens": 1024},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def chunk(**more):
    event = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1764403600,
        "model": "small-model",
        "usage": None,
    }
    return ("data: " + json.dumps({**event, **more}) + "\n\n").encode()


def delta(text):
    return chunk(
        choices=[{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]
    )


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.close_connection = True
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        first = body["messages"][0]["content"] if "messages" in body else body["input"]
        first = first if isinstance(first, str) else first[0]["text"]
        plan = dict(word.split("=") for word in first.split())
        seen = {"path": self.path, "key": self.headers["x-api-key"], "body": body, "sent": 0, "closed": False}
        self.server.seen.append(seen)
        try:
            self.answer(plan, body, seen)
        except OSError:
            seen["closed"] = True  # by the proxy, in the middle

    def answer(self, plan, body, seen):
        time.sleep(int(plan.get("think_ms", 0)) / 1000)
        if "status" in plan:
            self.whole(int(plan["status"]), b'{"error": {"message": "as asked", "type": "server_error"}}')
        elif plan.get("file", "").endswith(".json"):
            self.whole(200, (TESTDATA / plan["file"]).read_bytes())
        elif "file" in plan:
            self.stream((TESTDATA / plan["file"]).read_bytes().splitlines(keepends=True), 0.002, seen)
        elif not body.get("stream"):
            self.whole(200, json.dumps(dict(self.usage(int(plan["tokens"])), choices=[])).encode())
        else:
            deltas = self.deltas(plan, body)
            if "crlf" in plan:
                deltas = (delta.replace(b"\n", b"\r\n") for delta in deltas)
            self.stream(deltas, int(plan.get("pause_ms", 1)) / 1000, seen, "cut" in plan)

    def usage(self, tokens):
        return {"usage": {**USAGE, "completion_tokens": tokens + 3, "total_tokens": 1163 + tokens + 3}}

    def deltas(self, plan, body):
        count = int(plan["tokens"])
        for i in range(int(plan.get("cut", count))):
            yield delta(f"t{i % 100:02} ")  # four bytes each
        if "cut" not in plan:
            if (body.get("stream_options") or {}).get("include_usage"):
                yield chunk(choices=[], **self.usage(count))
            yield b"data: [DONE]\n\n"

    def whole(self, status, body):
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if 300 <= status < 400:
            self.send_header("location", "/elsewhere")
        self.end_headers()
        self.wfile.write(body)

    def stream(self, pieces, pause_s, seen, cut=False):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in pieces:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            seen["sent"] += 1
            time.sleep(pause_s)
        if not cut:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *args):
        pass


def start(tls=None):
    """A server on a free port, in a thread; `.seen` is what came. tls: its certificate and key, as files."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    server.seen = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

"""An upstream that answers as the request asks it to.

  x-usage: 139        the usage of the answer, all of it completion tokens: in the JSON body, and in the header x-usage-total
  x-prompt: 100       as many of it are prompt tokens
  x-status: 503       its status
  /stream             the body as server-sent events, the usage in the last one
  x-cut: 1            the stream ends before it
  accept-encoding     gzip: the JSON body is compressed
"""

import gzip
import http.server
import json
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        with self.server.lock:
            self.server.seen.append(self.path)
        usage = self.usage()
        if self.path.startswith("/stream"):
            self.stream(usage)
            return
        body = {"id": "chatcmpl-1", "object": "chat.completion"}
        if usage is not None:
            body["usage"] = usage
        data = json.dumps(body).encode()
        compressed = "gzip" in self.headers.get("accept-encoding", "")
        data = gzip.compress(data) if compressed else data
        self.send_response(int(self.headers.get("x-status", "200")))
        if compressed:
            self.send_header("content-encoding", "gzip")
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        if usage is not None:
            self.send_header("x-usage-total", self.headers["x-usage"])
        self.end_headers()
        self.wfile.write(data)

    def usage(self):
        if "x-usage" not in self.headers:
            return None
        total, prompt = int(self.headers["x-usage"]), int(self.headers.get("x-prompt", "0"))
        return {"prompt_tokens": prompt, "completion_tokens": total - prompt, "total_tokens": total}

    def stream(self, usage):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for word in ("quo", "ta"):
            self.event({"choices": [{"delta": {"content": word}}], "usage": None})
        if self.headers.get("x-cut"):
            self.close_connection = True  # without the last chunk
            return
        if usage is not None:
            self.event({"choices": [], "usage": usage})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, what):
        self.chunk(b"data: " + json.dumps(what).encode() + b"\n\n")

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512  # many connections at once must not be refused

    def handle_error(self, *_):
        pass  # a client that goes away is no news


def start():
    server = Server(("127.0.0.1", 0), Handler)
    server.lock, server.seen = threading.Lock(), []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server

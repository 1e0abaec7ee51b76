#!/usr/bin/env python3
"""A streaming proxy that asks quotad: for OpenAI's chat completions and responses, and Anthropic's messages.

  proxy.py --quotad 127.0.0.1:7070 --upstream http://127.0.0.1:8000 --keys keys.json --fail-closed

keys.json says who pays: {"sk-one": "acme/search"}. The upstream's own key is in $UPSTREAM_API_KEY; it may speak TLS
(https://HOST/PREFIX). The proxy itself listens in plain HTTP, on loopback only: put it behind what ends TLS.
"""

import argparse
import http.client
import json
import logging
import os
import re
import select
import signal
import socket
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from quota_client import Quota, Refused, Tls, log, pb
from usage import Answer, Usage, guess

BODY_MAX = 8 << 20
MODEL_MAX = 127  # bytes: what quotad takes for a name
OUTPUT_MAX = 1 << 46
CHOICES_MAX = 128  # times OUTPUT_MAX it is the most that quotad counts, 2^53
UPSTREAM_S = 600  # the longest silence of the upstream
NOTHING = Usage({})


class ClientGone(Exception):
    pass


def model_of(body):
    """The model that a request names, or ""."""
    model = "" if body.get("model") is None else body["model"]
    if isinstance(model, str) and model.isprintable() and len(model.encode()) <= MODEL_MAX:
        return model
    raise Refused(400, f"model: a name of at most {MODEL_MAX} bytes is accepted")


def count_of(body, name, most):
    value = body.get(name)
    if value is None or type(value) is int and 0 <= value <= most:
        return value
    raise Refused(400, f"{name}: a whole number from 0 to {most} is accepted")


def output_bound(body):
    """The most output that a request allows, whichever field its vendor reads, or None."""
    choices = count_of(body, "n", CHOICES_MAX) or 1
    names = ("max_completion_tokens", "max_output_tokens", "max_tokens")
    bounds = [count_of(body, name, OUTPUT_MAX) for name in names]
    given = [bound for bound in bounds if bound is not None]
    return max(given) * choices if given else None


def error_body(kind, message):
    """What clients of both vendors take for an error."""
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0

    def do_POST(self):
        self.began = False
        try:
            tenant, body = self.read_request()
            # An id of our own: a client that chose it could repeat one, and be served twice for one reservation.
            hold = self.server.quota.check(
                tenant, model_of(body), str(uuid.uuid4()), guess(self.size), output_bound(body)
            )
        except Refused as no:
            return self.refuse(no)
        answer = Answer()
        try:
            outcome = self.forward(hold, body, answer)
        except (ClientGone, ConnectionError) as error:
            log.info("%s: the client went away: %r", hold.request_id, error)
            outcome = pb.OUTCOME_DISCONNECTED
        except Exception:  # a defect of this program: still report what was used
            log.exception("%s", hold.request_id)
            outcome = pb.OUTCOME_FAILED
        used = answer.used(hold.input_tokens) if self.began else NOTHING
        self.server.quota.report(hold, outcome, used, answer.tier)

    def read_request(self):
        self.close_connection = True
        try:
            self.size = int(self.headers.get("content-length") or 0)
        except ValueError:
            raise Refused(400, "content-length: no number") from None
        if not self.path.startswith("/"):
            raise Refused(400, "a path is accepted, no address")
        if not 0 < self.size <= BODY_MAX:
            raise Refused(413 if self.size else 411, f"a body of 1 to {BODY_MAX} bytes is accepted")
        raw = self.rfile.read(self.size)
        key = self.headers.get("x-api-key") or (self.headers.get("authorization") or "").removeprefix(
            "Bearer "
        )
        if key not in self.server.keys:
            raise Refused(401, "unknown API key")
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError):
            body = None
        if not isinstance(body, dict):
            raise Refused(400, "the body is no JSON object")
        if body.get("stream") and self.path.endswith(
            "/chat/completions"
        ):  # else OpenAI says nothing of usage
            options = body.get("stream_options")
            body["stream_options"] = dict(options if isinstance(options, dict) else {}, include_usage=True)
        return self.server.keys[key], body

    def refuse(self, no):
        kind = "quota_exceeded" if no.status == 429 else "refused"
        try:
            self.send_whole(no.status, error_body(kind, no.message), no.headers)
        except ConnectionError:
            pass  # nobody is there to be told, and the outcome is the same

    def send_whole(self, status, body, headers):
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            **headers,
            "content-length": str(len(body)),
        }.items():
            self.send_header(name, value)
        self.send_header("connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def forward(self, hold, body, answer):
        """Sends the request on and the answer back; the outcome. `self.began`: the upstream served it."""
        upstream = self.server.connection(self.server.host, timeout=UPSTREAM_S)
        try:
            upstream.connect()
        except OSError as error:
            self.refuse(Refused(502, f"the upstream cannot be reached: {error}"))
            return pb.OUTCOME_NOT_DISPATCHED
        try:
            path, headers = self.server.prefix + self.path, self.server.upstream_headers
            upstream.request("POST", path, json.dumps(body).encode(), headers)
            response = upstream.getresponse()
        except (OSError, http.client.HTTPException) as error:
            upstream.close()
            self.refuse(Refused(502, f"the upstream failed: {error!r}"))
            return pb.OUTCOME_FAILED
        try:
            if response.status != 200 or "text/event-stream" not in (
                response.getheader("content-type") or ""
            ):
                return self.copy_whole(hold, response, answer)
            return self.copy_stream(hold, response, answer)
        finally:
            upstream.close()  # in the middle of an answer: it need not go on

    def copy_whole(self, hold, response, answer):
        try:
            body = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.refuse(Refused(502, f"the upstream failed: {error!r}"))
            return pb.OUTCOME_FAILED
        if response.status == 200:
            self.began = True
            answer.take_json(body)
        kind = response.getheader("content-type") or "application/json"
        self.send_whole(response.status, body, {"content-type": kind, "x-request-id": hold.request_id})
        return pb.OUTCOME_OK if response.status == 200 else pb.OUTCOME_FAILED

    def copy_stream(self, hold, response, answer):
        self.began = True
        self.send_response(200)
        for name, value in (
            ("content-type", "text/event-stream"),
            ("transfer-encoding", "chunked"),
            ("x-request-id", hold.request_id),
        ):
            self.send_header(name, value)
        self.end_headers()
        extend_at = time.monotonic() + self.server.extend_s
        try:
            for line in lines_of(response):
                self.send_chunk(line)
                answer.take_line(line)
                if line in (b"\n", b"\r\n") and time.monotonic() >= extend_at:
                    extend_at = time.monotonic() + self.server.extend_s
                    why = self.server.quota.extend(hold, answer.used(hold.input_tokens))
                    if why is not None:
                        self.send_error_event("quota_exceeded", why)
                        return pb.OUTCOME_OK
        except UpstreamBroke as error:
            log.warning("%s: the upstream broke off: %s", hold.request_id, error)
        if answer.done and not answer.failed:
            self.send_chunk(b"")
            return pb.OUTCOME_OK
        self.send_error_event("upstream_failed", "the upstream broke off")
        return pb.OUTCOME_FAILED

    def send_chunk(self, data):
        """The empty one ends the answer. A client that has closed is seen here, not two writes later."""
        if select.select([self.connection], [], [], 0)[0] and not self.connection.recv(1, socket.MSG_PEEK):
            raise ClientGone("it closed")
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def send_error_event(self, kind, message):
        self.send_chunk(b"event: error\ndata: " + error_body(kind, message) + b"\n\n")
        self.send_chunk(b"")

    def log_message(self, *args):
        log.debug(*args)


class UpstreamBroke(Exception):
    pass


def lines_of(response):
    while True:
        try:
            line = response.readline()
        except (OSError, http.client.HTTPException) as error:
            raise UpstreamBroke(repr(error)) from error
        if not line:
            return
        yield line


def upstream_of(url):
    """The kind of connection, the host and what goes before each path."""
    found = re.fullmatch(r"(https?)://((?:[\w.-]+|\[[\da-f:]+\])(?::\d+)?)(/[^?#\s]*)?", url, re.ASCII)
    if not found:
        raise argparse.ArgumentTypeError("http[s]://HOST[:PORT][/PREFIX] is accepted")
    scheme, host, prefix = found.groups(default="")
    connections = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    return connections[scheme], host, prefix.rstrip("/")


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--listen", default="127.0.0.1:8080")
    arguments.add_argument("--quotad", default="127.0.0.1:7070")
    arguments.add_argument("--quotad-ca", default="", metavar="PEM", help="the node speaks TLS")
    arguments.add_argument("--quotad-cert", default="", metavar="PEM", help="and asks for a certificate")
    arguments.add_argument("--quotad-key", default="", metavar="PEM")
    arguments.add_argument("--upstream", required=True, type=upstream_of, metavar="URL")
    arguments.add_argument("--keys", required=True)
    arguments.add_argument("--extend-every", type=float, default=2, metavar="SECONDS")
    arguments.add_argument("--check-timeout", type=float, default=0.5, metavar="SECONDS")
    away = arguments.add_mutually_exclusive_group(required=True)
    away.add_argument("--fail-open", action="store_true", help="serve while quotad is away, report later")
    away.add_argument("--fail-closed", action="store_true", help="answer 503 while quotad is away")
    options = arguments.parse_args()
    logging.basicConfig(level=logging.INFO)
    host, port = options.listen.rsplit(":", 1)
    server = ThreadingHTTPServer((host, int(port)), Handler)
    server.daemon_threads = False  # a stop waits for the open answers, and for their reports
    tls = Tls(options.quotad_ca, options.quotad_cert, options.quotad_key)
    server.quota = Quota(options.quotad, options.fail_open, options.check_timeout, tls)
    server.connection, server.host, server.prefix = options.upstream
    key = os.environ.get("UPSTREAM_API_KEY", "")
    server.upstream_headers = {
        "content-type": "application/json",
        "authorization": "Bearer " + key,
        "x-api-key": key,
        "anthropic-version": "2023-06-01",
    }
    with open(options.keys, encoding="utf-8") as file:
        server.keys = json.load(file)
    server.extend_s = options.extend_every
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"listening on {host}:{server.server_address[1]}", flush=True)
    server.serve_forever()
    server.server_close()


if __name__ == "__main__":
    main()

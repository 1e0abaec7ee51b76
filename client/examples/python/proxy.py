#!/usr/bin/env python3
"""A streaming proxy that asks quotad: for OpenAI's chat completions and responses, and Anthropic's messages.

  proxy.py --quotad 127.0.0.1:7070 --upstream http://127.0.0.1:8000 --keys keys.json --fail-closed

keys.json says who pays: {"sk-one": "acme/search"}. The upstream's own key is in $UPSTREAM_API_KEY; it may speak TLS
(https://HOST/PREFIX). The proxy itself listens in plain HTTP, on loopback only: put it behind what ends TLS.
"""

import argparse
import asyncio
import json
import logging
import signal
import time
import uuid

from aiohttp import web

from quota_client import Quota, Refused, Tls, pb
from request import ask_for_usage, decode, model_of, output_bound
from upstream import UPSTREAM_FAILED, UPSTREAM_NOT_REACHED, Upstream, lines_of, upstream_url
from usage import Answer, Usage, guess

BODY_MAX = 8 << 20
STOP_S = 600  # the longest that a stop waits for the open answers
NOTHING = Usage({})


def error_body(kind, message):
    """What clients of both vendors take for an error."""
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def error_event(kind, message):
    return b"event: error\ndata: " + error_body(kind, message) + b"\n\n"


@web.middleware
async def refusals(request, handler):
    try:
        return await handler(request)
    except Refused as refused:
        no = refused
    except web.HTTPException as error:  # aiohttp's own: no POST, or too large
        no = Refused(error.status, error.reason)
    kind = "quota_exceeded" if no.status == 429 else "refused"
    return web.json_response(body=error_body(kind, no.message), status=no.status, headers=no.headers)


class Exchange:
    """A request that quotad has allowed, and what became of it."""

    def __init__(self, hold):
        self.hold, self.answer, self.outcome = hold, Answer(), pb.OUTCOME_FAILED
        self.began = False  # the upstream serves it

    def used(self):
        return self.answer.used(self.hold.input_tokens) if self.began else NOTHING

    def complete(self):
        return self.answer.done and not self.answer.failed


class Proxy:
    def __init__(self, quota, upstream, keys, extend_s):
        self.quota, self.upstream, self.keys, self.extend_s = quota, upstream, keys, extend_s

    async def serve(self, request):
        raw = await request.read()
        bearer = request.headers.get("authorization", "").removeprefix("Bearer ")
        tenant = self.keys.get(request.headers.get("x-api-key") or bearer)
        if tenant is None:
            raise Refused(401, "unknown API key")
        body = decode(raw)
        ask_for_usage(request.path, body)
        # An id of our own: a client that chose it could repeat one, and be served twice for one reservation.
        request_id = str(uuid.uuid4())
        hold = await self.quota.check(tenant, model_of(body), request_id, guess(len(raw)), output_bound(body))
        exchange = Exchange(hold)
        try:
            return await self.forward(request, body, exchange)
        except (asyncio.CancelledError, ConnectionError):  # the client went
            exchange.outcome = pb.OUTCOME_OK if exchange.complete() else pb.OUTCOME_DISCONNECTED
            exchange.began = True  # the vendor had the input, at least
            raise
        finally:  # also for a defect of this program
            self.quota.report(hold, exchange.outcome, exchange.used(), exchange.answer.tier)

    async def forward(self, request, body, exchange):
        try:
            response = await self.upstream.post(request.rel_url, body)
        except UPSTREAM_NOT_REACHED as error:
            exchange.outcome = pb.OUTCOME_NOT_DISPATCHED
            raise Refused(502, f"the upstream cannot be reached: {error}") from None
        except UPSTREAM_FAILED as error:
            raise Refused(502, f"the upstream failed: {error!r}") from None
        async with response:  # leaving it early closes the connection: the upstream need not go on
            exchange.began = response.status == 200
            if exchange.began and response.content_type == "text/event-stream":
                return await self.copy_stream(request, response, exchange)
            return await self.copy_whole(response, exchange)

    async def copy_whole(self, source, exchange):
        try:
            body = await source.read()
        except UPSTREAM_FAILED as error:
            raise Refused(502, f"the upstream failed: {error!r}") from None
        if exchange.began:
            exchange.answer.take_json(body)
            exchange.outcome = pb.OUTCOME_OK
        kind = source.headers.get("content-type", "application/json")
        headers = {"content-type": kind, "x-request-id": exchange.hold.request_id}
        return web.Response(body=body, status=source.status, headers=headers)

    async def copy_stream(self, request, source, exchange):
        headers = {"content-type": "text/event-stream", "x-request-id": exchange.hold.request_id}
        response = web.StreamResponse(headers=headers)
        await response.prepare(request)
        extend_at = time.monotonic() + self.extend_s
        async for line in lines_of(source):
            exchange.answer.take_line(line)
            await response.write(line)
            between_events = not line.strip()
            if between_events and time.monotonic() >= extend_at:
                extend_at = time.monotonic() + self.extend_s
                why = await self.quota.extend(exchange.hold, exchange.used())
                if why is not None:
                    exchange.outcome = pb.OUTCOME_OK
                    await response.write(error_event("quota_exceeded", why))
                    return response
        if exchange.complete():
            exchange.outcome = pb.OUTCOME_OK
        else:
            await response.write(error_event("upstream_failed", "the upstream broke off"))
        return response


def json_file(name):
    with open(name, encoding="utf-8") as file:
        return json.load(file)


def options():
    flags = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    flags.add_argument("--listen", default="127.0.0.1:8080")
    flags.add_argument("--quotad", default="127.0.0.1:7070")
    flags.add_argument("--quotad-ca", default="", metavar="PEM", help="the node speaks TLS")
    flags.add_argument("--quotad-cert", default="", metavar="PEM", help="and asks for a certificate")
    flags.add_argument("--quotad-key", default="", metavar="PEM")
    flags.add_argument("--upstream", required=True, type=upstream_url, metavar="URL")
    flags.add_argument("--keys", required=True, type=json_file, metavar="JSON")
    flags.add_argument("--extend-every", type=float, default=2, metavar="SECONDS")
    flags.add_argument("--check-timeout", type=float, default=0.5, metavar="SECONDS")
    away = flags.add_mutually_exclusive_group(required=True)
    away.add_argument("--fail-open", action="store_true", help="serve while quotad is away, report later")
    away.add_argument("--fail-closed", action="store_true", help="answer 503 while quotad is away")
    return flags.parse_args()


async def main(given):
    logging.basicConfig(level=logging.INFO)
    stop = asyncio.Event()
    for kind in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(kind, stop.set)
    tls = Tls(given.quotad_ca, given.quotad_cert, given.quotad_key)
    quota = Quota(given.quotad, given.fail_open, given.check_timeout, tls)
    async with quota, Upstream(given.upstream) as upstream:
        application = web.Application(middlewares=[refusals], client_max_size=BODY_MAX)
        proxy = Proxy(quota, upstream, given.keys, given.extend_every)
        application.router.add_post("/{path:.*}", proxy.serve)
        runner = web.AppRunner(
            application, handler_cancellation=True, access_log=None, shutdown_timeout=STOP_S
        )
        await runner.setup()
        host, port = given.listen.rsplit(":", 1)
        await web.TCPSite(runner, host, int(port)).start()
        print(f"listening on {host}:{runner.addresses[0][1]}", flush=True)
        await stop.wait()
        await runner.cleanup()  # waits for the open answers, and the end of `quota` for their reports


if __name__ == "__main__":
    asyncio.run(main(options()))

"""Asking quotad around a request: check before it, extend while it streams, report after it. For one event loop."""

import asyncio
import json
import logging
import math
import pathlib
from typing import NamedTuple

import grpc
from google.protobuf.json_format import MessageToDict

import usage as vendors
from quota.v1 import quota_pb2 as pb
from quota.v1 import quota_pb2_grpc

log = logging.getLogger("quota")
CHECK_S = 0.5  # a check answers in about a millisecond: who waits longer waits for a node that is away
REPORT_S = 30  # a report is worth waiting for
BACK_MS = 2000  # after so long at most a node that is back is asked again
# Reports are idempotent, so gRPC may repeat them.
SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [{"service": "quota.v1.QuotaService", "method": "ReportUsage"}],
            "retryPolicy": {
                "maxAttempts": 5,
                "initialBackoff": "0.2s",
                "maxBackoff": "5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}
BUSY = (pb.REASON_CAPACITY, pb.REASON_DRAINING, pb.REASON_UNDECIDED)  # not the tenant's fault
AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
# The request's fault; the second is gRPC's, for a message that is too large.
AT_FAULT = (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.RESOURCE_EXHAUSTED)
THROTTLED = (pb.REASON_LIMIT, pb.REASON_NEVER_FITS)


class Refused(Exception):
    """The request must not be sent: what to answer instead."""

    def __init__(self, status, message, headers=()):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, dict(headers)


class Hold(NamedTuple):
    """A request that may run. No token: quotad was away, and its usage is reported without a reservation."""

    tenant: str
    model: str
    request_id: str
    input_tokens: int
    token: str = ""


class Tls(NamedTuple):
    """PEM files: who vouches for the node ("": plaintext), and what this client is known by ("": nothing)."""

    ca: str = ""
    cert: str = ""
    key: str = ""


def channel(address, tls, options):
    if not tls.ca:
        return grpc.aio.insecure_channel(address, options)
    ca, cert, key = (pathlib.Path(name).read_bytes() if name else None for name in tls)
    return grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert), options)


class Quota:
    """Made and used in one running event loop; its end waits for the reports."""

    def __init__(self, address, fail_open, check_s=CHECK_S, tls=Tls()):
        options = [
            ("grpc.service_config", json.dumps(SERVICE_CONFIG)),
            ("grpc.max_reconnect_backoff_ms", BACK_MS),
        ]
        self.channel = channel(address, tls, options)
        self.service = quota_pb2_grpc.QuotaServiceStub(self.channel)
        self.fail_open = fail_open
        self.check_s = check_s
        self.tasks = set()  # what nobody else waits for

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        await self.close()

    async def close(self):
        while self.tasks:
            await asyncio.wait(self.tasks)
        await self.channel.close()

    def start(self, work):
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def check(self, *wanted):
        """A Hold, or raises Refused. Cancelled meanwhile, since the client went, it leaves no hold behind."""
        asking = self.start(self.ask(*wanted))
        try:
            return await asyncio.shield(asking)
        except asyncio.CancelledError:
            self.start(self.give_back(asking))
            raise

    async def give_back(self, asking):
        try:
            await self.book(await asking, pb.OUTCOME_NOT_DISPATCHED, vendors.Usage({}), 0)
        except Refused:
            pass  # there is none

    async def ask(self, tenant, model, request_id, input_tokens, max_output_tokens=None):
        request = pb.CheckQuotaRequest(
            tenant=tenant,
            model=model,
            request_id=request_id,
            estimate=amounts({"input_tokens": input_tokens}),
        )
        if max_output_tokens is not None:
            request.max_output_tokens = max_output_tokens
        hold = Hold(tenant, model, request_id, input_tokens)
        try:
            answer = await self.service.CheckQuota(request, timeout=self.check_s)
        except grpc.RpcError as error:
            return self.unanswered(hold, error)
        if answer.verdict == pb.VERDICT_ALLOWED:
            return hold._replace(token=answer.reservation.token)
        log.info("%s is denied: %s", request_id, answer.message)
        raise denial(answer)

    def unanswered(self, hold, error):
        """Only silence is served unchecked: no request may choose that it is not counted."""
        if error.code() in AT_FAULT:
            raise Refused(400, error.details()) from None
        log.warning("check of %s: %s: %s", hold.request_id, error.code().name, error.details())
        if not self.fail_open or error.code() not in AWAY:
            raise Refused(503, "quota cannot be checked at present", {"retry-after": "1"}) from None
        return hold

    async def extend(self, hold, used):
        """None: go on. Else why to stop. Silence is no reason to stop."""
        if not hold.token:
            return None
        request = pb.ExtendReservationRequest(reservation=hold.token, used_so_far=amounts(used.meters))
        try:
            answer = await self.service.ExtendReservation(request, timeout=self.check_s)
        except grpc.RpcError as error:
            log.warning("extension of %s: %s: %s", hold.request_id, error.code().name, error.details())
            return None
        if answer.continuation != pb.CONTINUATION_STOP:
            return None
        log.info("%s is stopped: %s", hold.request_id, answer.message)
        return told(answer)

    def report(self, hold, outcome, used, tier=0):
        """Books `used` (a usage.Usage), while its caller goes on. What could not be booked is in the log, whole."""
        self.start(self.book(hold, outcome, used, tier))

    async def book(self, hold, outcome, used, tier):
        every = vendors.parts(used)
        for sequence, (meters, ttl) in enumerate(every):
            request = pb.ReportUsageRequest(
                reservation=hold.token,
                tenant=hold.tenant,
                request_id=hold.request_id,
                sequence=sequence,
                partial=sequence + 1 < len(every),
                outcome=outcome,
                tier=tier,
                cache_write_ttl=ttl,
                usage=amounts(meters),
            )
            if not hold.token:
                request.model = hold.model
            try:
                await self.service.ReportUsage(request, timeout=REPORT_S, wait_for_ready=True)
            except grpc.RpcError as error:
                lost = json.dumps(MessageToDict(request, preserving_proto_field_name=True))
                log.error("not booked: %s: %s: %s", error.code().name, error.details(), lost)


def amounts(meters):
    return [{"meter": meter, "amount": amount} for meter, amount in meters.items()]


def told(answer):
    """What the tenant's users may read of a denial or a stop: of a limit of money no amounts, our own cost."""
    if answer.limit.unit != "nano_usd":
        return answer.message or "quota used up"
    if answer.reason == pb.REASON_NEVER_FITS:
        return f"{answer.limit.name} does not allow a request of this size"
    return f"{answer.limit.name} is used up"


def denial(answer):
    """A denied check as HTTP: 429 for what is used up, 503 for what is quotad's, 403 for the rest."""
    headers = {header.name: header.value for header in answer.headers}
    if answer.retry_useful and answer.retry_after_ns > 0:
        headers["retry-after"] = str(math.ceil(answer.retry_after_ns / 1e9))
    status = 503 if answer.reason in BUSY else 429 if answer.reason in THROTTLED else 403
    return Refused(status, told(answer), headers)

"""quotad for LiteLLM's proxy: a check before each request, a report after it.

In LiteLLM's config.yaml (this folder on PYTHONPATH):

  litellm_settings:
    callbacks: litellm_quota.callback

$QUOTAD is the node (127.0.0.1:7070), $QUOTAD_FAIL is `open` or `closed` (closed), $QUOTAD_TIMEOUT how many seconds a
check may take (0.5). Who pays is the key's metadata
`quotad_tenant`, else its team, else its user.
"""

import asyncio
import atexit
import os
import threading
import uuid

from fastapi import HTTPException
from litellm.integrations.custom_logger import CustomLogger

from quota_client import Hold, Quota, Refused, Tls, log, pb
from request import model_of, output_bound
from usage import TIERS, Usage, guess, meters

HOLD = "quotad_hold"


def tenant_of(key):
    return (key.metadata or {}).get("quotad_tenant") or key.team_id or key.user_id or "unknown"


def size_of(data):
    return sum(
        len(str(data[part]))
        for part in ("messages", "input", "system", "tools", "prompt", "instructions")
        if data.get(part)
    )


def places(data):
    """Where LiteLLM keeps a request's own words: `litellm_metadata` where the API itself has a `metadata`."""
    params = data.get("litellm_params") or {}
    return [
        found
        for where in (data, params)
        for found in (where.get("metadata"), where.get("litellm_metadata"))
        if isinstance(found, dict)
    ]


def hold_of(data):
    for place in places(data):
        if isinstance(place.get(HOLD), list):
            return Hold(*place[HOLD])
    return None


class QuotaCallback(CustomLogger):
    def __init__(self):
        super().__init__()
        # A loop of its own: LiteLLM makes this object before it has one, and quotad's client belongs to one.
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.quota = self.run(connected()).result()
        atexit.register(lambda: self.run(self.quota.close()).result())  # waits for the reports

    def run(self, work):
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def report(self, hold, outcome, used, tier=0):
        """LiteLLM does not wait for it; its end does."""
        self.loop.call_soon_threadsafe(self.quota.report, hold, outcome, used, tier)

    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        tenant = tenant_of(user_api_key_dict)
        try:
            ask = (tenant, model_of(data), str(uuid.uuid4()), guess(size_of(data)), output_bound(data))
            hold = await asyncio.wrap_future(self.run(self.quota.check(*ask)))
        except Refused as no:
            raise HTTPException(no.status, no.message, no.headers) from None
        if data.get("stream") and "completion" in call_type:  # else LiteLLM counts by itself
            data["stream_options"] = dict(data.get("stream_options") or {}, include_usage=True)
        for place in places(data) or [data.setdefault("metadata", {})]:
            place[HOLD] = list(hold)
        return data

    async def async_log_success_event(self, kwargs, response_obj, start_time, end_time):
        hold = hold_of(kwargs)
        if hold is None:
            return  # not checked: one of LiteLLM's own health checks, for instance
        usage = plain(part(response_obj, "usage"))
        if not usage:
            log.warning("%s: LiteLLM tells no usage", hold.request_id)
        tier = TIERS.get(part(response_obj, "service_tier") or usage.get("service_tier"), 0)
        self.report(hold, pb.OUTCOME_OK, meters(usage), tier)

    # Not async_log_failure_event: that tells each attempt, and the router may try another.
    async def async_post_call_failure_hook(
        self, request_data, original_exception, user_api_key_dict, traceback_str=None
    ):
        hold = hold_of(request_data)
        if hold is not None:
            self.report(hold, pb.OUTCOME_FAILED, Usage({}))


def part(response, name):
    return response.get(name) if isinstance(response, dict) else getattr(response, name, None)


def plain(usage):
    """LiteLLM's object as a dict."""
    return usage.model_dump(exclude_none=True) if hasattr(usage, "model_dump") else usage or {}


async def connected():
    return Quota(
        os.environ.get("QUOTAD", "127.0.0.1:7070"),
        os.environ.get("QUOTAD_FAIL") == "open",
        float(os.environ.get("QUOTAD_TIMEOUT", "0.5")),
        Tls(*(os.environ.get("QUOTAD_CLIENT_" + name, "") for name in ("CA", "CERT", "KEY"))),
    )


callback = QuotaCallback()

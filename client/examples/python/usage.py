"""What the vendors' `usage` objects mean in quotad's meters. The only place that knows; testdata/cases.json tests it.

quotad's token meters never overlap: a token is in exactly one of them. The vendors' counts do overlap, and not alike:
OpenAI's input contains what was read from and written to the cache, and its output contains the reasoning; Anthropic's
input contains neither. A count that the vendor does not give stays missing, which is not 0.
"""

import json
import logging
from typing import NamedTuple

log = logging.getLogger("quota")

# Where each count is. `whole`: input contains cached and written; output always contains reasoning.
CHAT = {  # OpenAI's /v1/chat/completions, what imitates it, and LiteLLM's own Usage
    "whole": True,
    "input": "prompt_tokens",
    "cached": "prompt_tokens_details.cached_tokens",
    "written": "prompt_tokens_details.cache_write_tokens",
    "written_1h": "prompt_tokens_details.cache_creation_token_details.ephemeral_1h_input_tokens",  # LiteLLM
    "output": "completion_tokens",
    "reasoning": "completion_tokens_details.reasoning_tokens",
}
RESPONSES = {  # OpenAI's /v1/responses
    "whole": True,
    "input": "input_tokens",
    "cached": "input_tokens_details.cached_tokens",
    "written": "input_tokens_details.cache_write_tokens",
    "output": "output_tokens",
    "reasoning": "output_tokens_details.reasoning_tokens",
}
MESSAGES = {  # Anthropic's /v1/messages
    "whole": False,
    "input": "input_tokens",
    "cached": "cache_read_input_tokens",
    "written": "cache_creation_input_tokens",
    "written_1h": "cache_creation.ephemeral_1h_input_tokens",
    "output": "output_tokens",
    "reasoning": "output_tokens_details.thinking_tokens",  # where it is told apart; else it is output
}
TIERS = {"batch": 1, "priority": 2, "flex": 3}  # quota.v1.ServiceTier; any other is the standard price
TTL_1H = 2  # quota.v1.CacheWriteTtl
COUNT_MAX = 1 << 53  # the most that quotad takes; no vendor means more
TEXTS = {"content", "reasoning_content", "refusal", "text", "thinking", "partial_json", "arguments"}
LAST = {"message_stop", "response.completed", "response.incomplete"}


class Usage(NamedTuple):
    meters: dict  # by quotad's meter; cache_write_tokens holds all that was written
    written_1h: int = 0  # how much of it was written for an hour: another price


def shape_of(usage):
    if "prompt_tokens" in usage:
        return CHAT
    if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
        return MESSAGES
    return RESPONSES  # without details both vendors' input and output mean the same


def pick(usage, path):
    for key in path.split(".") if path else [""]:
        usage = usage.get(key) if isinstance(usage, dict) else None
    return usage if type(usage) is int and 0 <= usage <= COUNT_MAX else None


def meters(usage):
    """A vendor's usage object (a dict, or None) as Usage; empty where it says nothing."""
    usage = usage or {}
    shape = shape_of(usage)
    at = {name: pick(usage, path) for name, path in shape.items() if name != "whole"}
    if shape["whole"] and at["input"] is not None:
        at["input"] = max(0, at["input"] - (at["cached"] or 0) - (at["written"] or 0))
    if at["output"] is not None:
        at["output"] = max(0, at["output"] - (at["reasoning"] or 0))
    named = {
        "input_tokens": at["input"],
        "cached_input_tokens": at["cached"],
        "cache_write_tokens": at["written"],
        "output_tokens": at["output"],
        "reasoning_tokens": at["reasoning"],
    }
    known = {meter: amount for meter, amount in named.items() if amount is not None}
    return Usage(known, min(at.get("written_1h") or 0, at["written"] or 0))


def parts(usage):
    """The reports that a Usage takes, each (meters, TTL of its cache writes): two if it wrote both ways."""
    written = usage.meters.get("cache_write_tokens", 0)
    if 0 < usage.written_1h < written:
        rest = dict(usage.meters, cache_write_tokens=written - usage.written_1h)
        return [({"cache_write_tokens": usage.written_1h}, TTL_1H), (rest, 0)]
    return [(usage.meters, TTL_1H if usage.written_1h else 0)]


def guess(size, pieces=0):
    """Tokens where nobody has counted: four bytes each, one a piece at least. A tokenizer of the model does better."""
    return max(pieces, (size + 3) // 4)


def text_in(delta):
    if isinstance(delta, str):
        return delta
    if isinstance(delta, list):
        return "".join(text_in(one) for one in delta)
    if not isinstance(delta, dict):
        return ""
    return "".join(text_in(v) for k, v in delta.items() if k in TEXTS or isinstance(v, (dict, list)))


class Answer:
    """What is known of an answer while it comes: the last usage object, and the text that came after it."""

    def __init__(self):
        self.usage = {}  # the vendor's, merged: Anthropic gives the input first and the output last
        self.size = self.pieces = 0  # bytes of text since then, and the deltas that brought them
        self.done = False  # its last event came
        self.failed = False  # the vendor said so, in the stream
        self.tier = 0

    def take_line(self, line):
        """A line of server-sent events; both vendors' events are JSON in one `data:` line each."""
        if not line.startswith(b"data:"):
            return
        data = line[5:].strip()
        if data == b"[DONE]":
            self.done = True
            return
        self.take_json(data)

    def take_json(self, data):
        try:
            self.take(json.loads(data))
        except (ValueError, AttributeError, TypeError):
            log.warning("no JSON object of a vendor's: %r", data[:100])

    def take(self, event):
        """An event of a stream, or a whole body that was not streamed: a dict."""
        inner = event.get("response") or event.get("message")
        inner = inner if isinstance(inner, dict) else {}
        kind = event.get("type")
        self.failed = self.failed or bool(event.get("error")) or kind in ("error", "response.failed")
        self.done = self.done or kind in LAST
        new = [event.get("delta"), event.get("content")]
        new += [choice.get("delta") or choice.get("message") for choice in event.get("choices") or []]
        for delta in new:
            text = text_in(delta).encode("utf-8", "replace")
            self.size += len(text)
            self.pieces += bool(text)
        usage = event.get("usage") or inner.get("usage")
        for where in (event, inner, usage or {}):
            self.tier = TIERS.get(where.get("service_tier"), self.tier)
        if usage:
            self.usage.update({k: v for k, v in usage.items() if v is not None})
        if "output_tokens" in meters(usage).meters:
            self.size = self.pieces = 0

    def used(self, guessed_input):
        """Used so far. What the vendor has not counted yet is guessed: the input as given here, output by its length."""
        usage = meters(self.usage)
        known = usage.meters
        if not any(meter in known for meter in ("input_tokens", "cached_input_tokens", "cache_write_tokens")):
            known["input_tokens"] = guessed_input
        if self.pieces or "output_tokens" not in known:
            known["output_tokens"] = known.get("output_tokens", 0) + guess(self.size, self.pieces)
        return usage

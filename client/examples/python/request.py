"""What a client asks for. A request that quotad could not count is refused here, before anybody is asked."""

import json

from quota_client import Refused

MODEL_MAX = 127  # bytes: what quotad takes for a name
OUTPUT_MAX = 1 << 46
CHOICES_MAX = 128  # times OUTPUT_MAX it is the most that quotad counts, 2^53
OUTPUT_BOUNDS = ("max_completion_tokens", "max_output_tokens", "max_tokens")


def decode(raw):
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "the body is no JSON object")
    return body


def ask_for_usage(path, body):
    """Unasked, OpenAI's chat completions say nothing of usage in a stream."""
    if body.get("stream") and path.endswith("/chat/completions"):
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}


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
    bounds = [count_of(body, name, OUTPUT_MAX) for name in OUTPUT_BOUNDS]
    given = [bound for bound in bounds if bound is not None]
    return max(given) * choices if given else None

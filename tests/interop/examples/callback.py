"""The LiteLLM callback of client/examples in LiteLLM's own proxy, against a real quotad and a slow vendor. The node asks
for certificates.

  callback.py LITELLM FOLDER...     the `litellm` program, and what must be on its PYTHONPATH

Prints "ok litellm_CASE" or "not ok litellm_CASE" a case; exits 1 when one is not.
"""

import json
import os
import pathlib
import secrets
import shutil
import socket
import sys
import tempfile

from world import HERE, World, lasting_port, run_cases, secure_quotad, until

temporary = tempfile.TemporaryDirectory(prefix="quotad-examples-")
folder = pathlib.Path(temporary.name)
node, (CA, CERT, KEY) = secure_quotad(folder / "node")
world = World(folder, node)
quotad, vendor = world.quotad, world.vendor
EXAMPLES = HERE.parents[2] / "client/examples/python"
CONFIG = {
    "model_list": [
        {
            "model_name": "small-model",
            "litellm_params": {
                "model": "openai/small-model",
                "api_base": world.vendor_url + "/v1",
                "api_key": "none",
            },
        },
        {
            "model_name": "dear-model",
            "litellm_params": {
                "model": "openai/small-model",
                "api_base": world.vendor_url + "/v1",
                "api_key": "none",
            },
        },
        {
            "model_name": "claude",
            "litellm_params": {
                "model": "anthropic/claude-sonnet-4-5",
                "api_base": world.vendor_url,
                "api_key": "none",
            },
        },
    ],
    "litellm_settings": {"callbacks": "litellm_quota.callback", "num_retries": 0, "drop_params": True},
    "general_settings": {
        "custom_auth": "litellm_auth.authenticate",
        "master_key": "sk-" + secrets.token_hex(32),
    },
}


def start_proxy():
    """LiteLLM looks for its callbacks beside its configuration."""
    (world.folder / "config.yaml").write_text(json.dumps(CONFIG))  # JSON is YAML
    for file in (EXAMPLES / "litellm_quota.py", HERE / "litellm_auth.py"):
        shutil.copy(file, world.folder)
    port = lasting_port()
    program = world.run(
        [
            sys.argv[1],
            "--config",
            str(world.folder / "config.yaml"),
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ],
        world.folder / "proxy.log",
        environment={
            "QUOTAD": quotad.address,
            "QUOTAD_CLIENT_CA": CA,
            "QUOTAD_CLIENT_CERT": CERT,
            "QUOTAD_CLIENT_KEY": KEY,
            "QUOTAD_FAIL": "closed",
            "QUOTAD_TIMEOUT": "10",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_TELEMETRY": "False",
            "PYTHONPATH": os.pathsep.join([str(EXAMPLES), *sys.argv[2:]]),
        },
    )
    program.port = port

    def listens():
        assert program.process.poll() is None, "it ended: " + program.log.read_text()[-3000:]
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    until("LiteLLM listens", listens, 300)
    return program


def same(found, wanted):
    assert found == wanted, f"{found}, not {wanted}"


def booked(case, outcome, count=1):
    found = quotad.entries(f"{case}/litellm", count)
    same({each["outcome"] for each in found}, {outcome})
    return [
        {each["meter"]: int(each["amount"]) for each in one["quantities"] if each["meter"] != "requests"}
        for one in found
    ]


def a_stream_is_booked_as_the_vendor_says():
    connection, response = proxy.chat("sk-stream", "tokens=30 pause_ms=5")
    same(response.status, 200)
    response.read()
    same(
        booked("stream", "OK"),
        [{"input_tokens": 139, "cached_input_tokens": 1024, "output_tokens": 30, "reasoning_tokens": 3}],
    )


def what_is_not_streamed_is_booked_too():
    response = proxy.chat("sk-whole", "tokens=12", stream=False)[1]
    same((response.status, json.loads(response.read())["usage"]["completion_tokens"]), (200, 15))
    same(
        booked("whole", "OK"),
        [{"input_tokens": 139, "cached_input_tokens": 1024, "output_tokens": 12, "reasoning_tokens": 3}],
    )


def post(path, case, model, words, **more):
    """The answer's text."""
    body = {"model": model, "max_tokens": 1000, "messages": [{"role": "user", "content": words}], **more}
    response = proxy.post(path, "sk-" + case, body)[1]
    same(response.status, 200)
    return response.read()


def same_but_thinking(used, wanted):
    """LiteLLM counts thinking by itself where the vendor does not: together with the output it is the vendor's count."""
    used = dict(used, output_tokens=used["output_tokens"] + used.get("reasoning_tokens", 0))
    used.pop("reasoning_tokens", None)
    same(used, wanted)


def written(path, case):
    """A body that wrote to the cache for an hour and for five minutes: two parts."""
    post(path, case, "claude", "file=anthropic_cached.json")
    hour, rest = booked(case, "OK", 2)
    entries = quotad.entries(f"{case}/litellm", 2)
    same(
        [(each["cache_write_ttl"], each["tier"]) for each in entries],
        [("1H", "BATCH"), ("UNSPECIFIED", "BATCH")],
    )
    same(hour, {"cache_write_tokens": 100})
    same_but_thinking(
        rest,
        {"input_tokens": 50, "cached_input_tokens": 18000, "cache_write_tokens": 456, "output_tokens": 393},
    )


def written_for_an_hour(path, case):
    post(path, case, "claude", "file=anthropic_stream.sse", stream=True)
    used = booked(case, "OK")[0]
    same(quotad.entries(f"{case}/litellm", 1)[0]["cache_write_ttl"], "1H")
    same_but_thinking(
        used,
        {"input_tokens": 21, "cached_input_tokens": 3200, "cache_write_tokens": 1400, "output_tokens": 38},
    )


def anthropics_cache_writes_are_booked_by_their_kind():
    written("/v1/chat/completions", "chat-cache")


def anthropics_stream_is_booked():
    written_for_an_hour("/v1/chat/completions", "chat-stream")


def anthropics_own_api_is_booked():
    written("/v1/messages", "messages")


def a_stream_of_anthropics_own_api_is_booked():
    written_for_an_hour("/v1/messages", "messages-stream")


def openais_responses_are_booked():
    body = {"model": "small-model", "input": "file=openai_responses.json"}
    proxy.post("/v1/responses", "sk-responses", body)[1].read()
    wanted = {"input_tokens": 176, "cached_input_tokens": 1152, "output_tokens": 10, "reasoning_tokens": 704}
    same(booked("responses", "OK"), [wanted])


def a_stream_of_openais_responses_is_booked():
    body = {"model": "small-model", "stream": True, "input": "file=openai_responses_stream.sse"}
    proxy.post("/v1/responses", "sk-responses-stream", body)[1].read()
    wanted = {"input_tokens": 37, "cached_input_tokens": 0, "output_tokens": 11, "reasoning_tokens": 0}
    same(booked("responses-stream", "OK"), [wanted])
    same(quotad.entries("responses-stream/litellm", 1)[0]["tier"], "PRIORITY")


def a_denied_one_is_429_and_never_sent():
    proxy.chat("sk-few", "tokens=1", stream=False)[1].read()
    before = len(vendor.seen)
    response = proxy.chat("sk-few", "tokens=1", stream=False)[1]
    text = response.read().decode()
    same(response.status, 429)
    assert "few.requests" in text and "retry in" in text, text
    assert 1 <= int(response.getheader("retry-after")) <= 61, response.getheader("retry-after")
    same(len(vendor.seen), before)
    booked("few", "OK")


def of_a_budget_of_money_nobody_is_told_amounts():
    proxy.chat("sk-money", "tokens=200", stream=False, model="dear-model")[1].read()
    booked("money", "OK")
    response = proxy.chat("sk-money", "tokens=1", stream=False, model="dear-model")[1]
    text = response.read().decode()
    same(response.status, 429)
    assert "money.cost is used up" in text and "$" not in text, text


def a_wrong_one_is_400_and_never_sent():
    before = len(vendor.seen)
    for wrong in ({"max_tokens": 10**30}, {"max_tokens": -1}, {"model": "m" * 1_200_000}):
        (field,) = wrong
        response = proxy.chat("sk-bad", "tokens=1", stream=False, **wrong)[1]
        text = response.read().decode()
        assert response.status == 400 and f"{field}: a" in text, (response.status, text[:1000])
    same(len(vendor.seen), before)


def a_vendor_that_fails_is_reported():
    response = proxy.chat("sk-failed", "status=400", stream=False)[1]
    assert response.status >= 400, response.status
    same(booked("failed", "FAILED"), [{}])


def a_client_that_goes_is_reported():
    connection, response = proxy.chat("sk-gone", "tokens=300 pause_ms=20")
    for _ in range(10):
        response.readline()
    connection.sock.shutdown(socket.SHUT_RDWR)
    response.close()
    connection.close()
    # LiteLLM calls it a success, and counts what it has sent by a tokenizer of its own.
    used = booked("gone", "OK")[0]
    assert 1 <= used["output_tokens"] < 150, used


def nothing_stays_held():
    until("no reservation is open", lambda: quotad.ctl("reservations", "ls", "-o", "json").find('"r_') < 0)


def away_and_closed_is_503():
    quotad.stop()
    before = len(vendor.seen)
    same(proxy.chat("sk-closed", "tokens=1", stream=False)[1].status, 503)
    same(len(vendor.seen), before)


try:
    proxy = start_proxy()
    all_ok = run_cases(
        "litellm",
        [
            a_stream_is_booked_as_the_vendor_says,
            what_is_not_streamed_is_booked_too,
            anthropics_cache_writes_are_booked_by_their_kind,
            anthropics_stream_is_booked,
            anthropics_own_api_is_booked,
            a_stream_of_anthropics_own_api_is_booked,
            openais_responses_are_booked,
            a_stream_of_openais_responses_is_booked,
            a_denied_one_is_429_and_never_sent,
            of_a_budget_of_money_nobody_is_told_amounts,
            a_wrong_one_is_400_and_never_sent,
            a_vendor_that_fails_is_reported,
            a_client_that_goes_is_reported,
            nothing_stays_held,
            away_and_closed_is_503,
        ],
    )
    if not all_ok:
        print("    " + proxy.log.read_text()[-6000:].replace("\n", "\n    "))
finally:
    world.end()
    temporary.cleanup()
sys.exit(not all_ok)

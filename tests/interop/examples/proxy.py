"""The streaming proxies of client/examples against a real quotad and a slow vendor.

  proxy.py NAME COMMAND...     COMMAND is the proxy without its flags

Prints "ok NAME_CASE" or "not ok NAME_CASE" a case; exits 1 when one is not.
"""

import json
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

import upstream
from world import Quotad, World, chat_body, make_certificates, run_cases, secure_quotad, until

name, command = sys.argv[1], sys.argv[2:]
temporary = tempfile.TemporaryDirectory(prefix="quotad-examples-")
world = World(pathlib.Path(temporary.name))
quotad, vendor = world.quotad, world.vendor
CASES = [
    "stream",
    "long",
    "whole",
    "messages",
    "cache",
    "responses",
    "few",
    "gone",
    "silence",
    "thought",
    "asking",
    "broken",
    "failed",
    "nowhere",
    "budget",
    "money",
    "closed",
    "open",
    "back",
    "secure",
    "stranger",
    "bad",
    "unproven",
    "https",
    "elsewhere",
]
ALL = {"input_tokens": 139, "cached_input_tokens": 1024, "reasoning_tokens": 3}


def start_proxy(mode, url, tag, node=quotad, **environment):
    keys = world.folder / "keys.json"
    tenants = {f"sk-{case}": f"{case}/{name}" for case in CASES}
    keys.write_text(json.dumps({**tenants, "sk-crlf": f"budget/crlf-{name}", "sk-vast": "v" * 1_200_000}))
    flags = f"--listen 127.0.0.1:0 --quotad {node.address} --upstream {url} --keys {keys} {mode}"
    patient = "--extend-every 0.2 --check-timeout 10"  # the machine may be busy with other tests
    log = world.folder / f"{tag}.log"
    return world.run(command + flags.split() + patient.split(), log, environment).listening()


def entry(case, outcome, node=quotad):
    """The one entry of a case; its quantities without `requests`."""
    found = node.entries(f"{case}/{name}", 1)[0]
    assert found["outcome"] == outcome, f"outcome {found['outcome']}, not {outcome}"
    return quantities(found)


def quantities(found):
    return {each["meter"]: int(each["amount"]) for each in found["quantities"] if each["meter"] != "requests"}


def same(found, wanted):
    assert found == wanted, f"{found}, not {wanted}"


def a_stream_comes_as_it_is_produced_and_is_booked_as_the_vendor_says():
    began = time.monotonic()
    connection, response = proxy.chat("sk-stream", "tokens=30 pause_ms=20")
    first = response.readline()
    first_s = time.monotonic() - began
    text = first + response.read()
    assert first_s < (time.monotonic() - began) / 2, "the first event came with the last"
    same(text.count(b'"content": "t'), 30)
    assert text.endswith(b"data: [DONE]\n\n"), text[-100:]
    same(entry("stream", "OK"), {**ALL, "output_tokens": 30})


def a_long_one_is_extended_and_booked_once():
    connection, response = proxy.chat("sk-long", "tokens=100 pause_ms=10", max_tokens=5)
    response.read()
    same(entry("long", "OK"), {**ALL, "output_tokens": 100})


def what_is_not_streamed_is_booked_too():
    connection, response = proxy.chat("sk-whole", "tokens=12", stream=False)
    request_id = response.getheader("x-request-id")
    same(json.loads(response.read())["usage"]["total_tokens"], 1178)
    same(entry("whole", "OK"), {**ALL, "output_tokens": 12})
    same(quotad.entries(f"whole/{name}", 1)[0]["request_id"], request_id)


def anthropics_stream_is_booked_at_the_price_of_its_cache_writes():
    body = {
        "model": "small-model",
        "stream": True,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "file=anthropic_stream.sse"}],
    }
    connection, response = proxy.post("/v1/messages", "sk-messages", body)
    assert b"message_stop" in response.read()
    found = quotad.entries(f"messages/{name}", 1)[0]
    same(found["cache_write_ttl"], "1H")
    same(
        quantities(found),
        {"input_tokens": 21, "cached_input_tokens": 3200, "cache_write_tokens": 1400, "output_tokens": 38},
    )


def cache_writes_of_two_kinds_are_two_parts():
    body = {
        "model": "small-model",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": "file=anthropic_cached.json"}],
    }
    proxy.post("/v1/messages", "sk-cache", body)[1].read()
    hour, rest = quotad.entries(f"cache/{name}", 2)
    same(
        (hour["cache_write_ttl"], quantities(hour), hour["final"]), ("1H", {"cache_write_tokens": 100}, False)
    )
    same(
        quantities(rest),
        {"input_tokens": 50, "cached_input_tokens": 18000, "cache_write_tokens": 456, "output_tokens": 393},
    )
    same((rest["tier"], rest["final"]), ("BATCH", True))


def openais_responses_are_booked():
    body = {"model": "small-model", "stream": True, "input": "file=openai_responses_stream.sse"}
    proxy.post("/v1/responses", "sk-responses", body)[1].read()
    same(
        entry("responses", "OK"),
        {"input_tokens": 37, "cached_input_tokens": 0, "output_tokens": 11, "reasoning_tokens": 0},
    )


def a_denied_one_is_429_and_never_sent():
    proxy.chat("sk-few", "tokens=1")[1].read()
    before = len(vendor.seen)
    connection, response = proxy.chat("sk-few", "tokens=1")
    same(response.status, 429)
    assert 1 <= int(response.getheader("retry-after")) <= 61, response.getheader("retry-after")
    message = json.loads(response.read())["error"]["message"]
    assert "few.requests" in message and "retry in" in message, message
    same(len(vendor.seen), before)
    entry("few", "OK")


def an_unknown_key_is_401():
    same(proxy.chat("sk-nobody", "tokens=1")[1].status, 401)


def a_client_that_goes_is_reported_and_the_vendor_stopped():
    connection, response = proxy.chat("sk-gone", "tokens=500 pause_ms=20")
    seen = vendor.seen[-1]
    for _ in range(10):
        response.readline()
    leave(connection)
    used = entry("gone", "DISCONNECTED")
    until("the vendor is told", lambda: seen["closed"])
    assert seen["sent"] < 250, seen["sent"]
    assert 5 <= used["output_tokens"] <= seen["sent"], (used, seen["sent"])
    assert 10 < used["input_tokens"] < 100, used


def leave(connection):
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def a_client_that_goes_while_the_vendor_is_silent_is_seen_at_once():
    connection, response = proxy.chat("sk-silence", "tokens=2 pause_ms=60000")
    response.readline()
    seen = vendor.seen[-1]
    leave(connection)
    same(entry("silence", "DISCONNECTED")["output_tokens"], 1)
    same(seen["sent"], 1)


def a_client_that_goes_before_the_answer_pays_for_the_input():
    for asked, stream in enumerate((True, False), len(vendor.seen) + 1):
        body = chat_body("tokens=2 think_ms=60000", stream)
        connection = proxy.ask("/v1/chat/completions", "sk-thought", body)
        until("the vendor is asked", lambda wanted=asked: len(vendor.seen) == wanted)
        leave(connection)
        found = quotad.entries(f"thought/{name}", 1 if stream else 2)
        same({each["outcome"] for each in found}, {"DISCONNECTED"})
        assert all(10 < quantities(each)["input_tokens"] < 100 for each in found), found


def a_client_that_goes_before_quotads_answer_leaves_nothing_held():
    before = len(vendor.seen)

    def reported():
        quotad.process.send_signal(signal.SIGSTOP)
        try:
            connection = proxy.ask("/v1/chat/completions", "sk-asking", chat_body("tokens=1"))
            time.sleep(0.2)  # too short, and there is no check: it is tried again
            leave(connection)
        finally:
            quotad.process.send_signal(signal.SIGCONT)
        time.sleep(0.2)
        return quotad.ctl("ledger", "export", f"asking/{name}").splitlines()

    found = [json.loads(line) for line in until("it is reported", reported)]
    same([(each["outcome"], quantities(each)) for each in found], [("NOT_DISPATCHED", {})] * len(found))
    same(len(vendor.seen), before)


def a_vendor_that_breaks_off_is_told_and_reported():
    connection, response = proxy.chat("sk-broken", "tokens=40 cut=10")
    assert b"upstream_failed" in response.read()
    same(entry("broken", "FAILED")["output_tokens"], 10)


def a_vendor_that_fails_costs_nothing():
    connection, response = proxy.chat("sk-failed", "status=500")
    same((response.status, json.loads(response.read())["error"]["message"]), (500, "as asked"))
    same(entry("failed", "FAILED"), {})


def a_vendor_that_sends_elsewhere_is_not_followed_with_its_key():
    before = len(vendor.seen)
    connection, response = proxy.chat("sk-elsewhere", "status=307")
    same((response.status, response.read() != b""), (307, True))
    same(len(vendor.seen), before + 1)
    same(entry("elsewhere", "FAILED"), {})


def a_vendor_that_is_not_there_is_502_and_not_dispatched():
    with socket.socket() as closed:  # bound, so that nobody else takes it, and not listening
        closed.bind(("127.0.0.1", 0))
        lost = start_proxy("--fail-closed", f"http://127.0.0.1:{closed.getsockname()[1]}", "nowhere")
        same(lost.chat("sk-nowhere", "tokens=1")[1].status, 502)
        same(entry("nowhere", "NOT_DISPATCHED"), {})
        lost.stop()


def a_budget_that_is_used_up_stops_the_output():
    connection, response = proxy.chat("sk-budget", "tokens=4000 pause_ms=5")
    text = response.read()
    seen = vendor.seen[-1]
    assert b"quota_exceeded" in text and b"budget.tokens" in text, text[-300:]
    assert b"[DONE]" not in text
    used = entry("budget", "OK")
    total = sum(used.values())
    same(used["output_tokens"], text.count(b'"content": "t'))
    assert 200 < total < 2000, total  # seen at the first extension after it
    until("the vendor is told", lambda: seen["closed"])


def of_a_budget_of_money_nobody_is_told_amounts():
    text = proxy.chat("sk-money", "tokens=4000 pause_ms=5", model="dear-model")[1].read().decode()
    stopped = text[text.rindex("event: error") :]
    response = proxy.chat("sk-money", "tokens=1", model="dear-model")[1]
    denied = response.read().decode()
    same(response.status, 429)
    for told in (stopped, denied):
        assert "money.cost is used up" in told and "$" not in told, told
    log = (world.folder / "proxy.log").read_text()
    assert "money.cost $" in log, "the operator is told amounts"


def nothing_stays_held():
    until("no reservation is open", lambda: quotad.ctl("reservations", "ls", "-o", "json").find('"r_') < 0)


def a_stream_whose_lines_end_with_CR_LF_is_stopped_too():
    text = proxy.chat("sk-crlf", "tokens=4000 pause_ms=5 crlf=1")[1].read()
    assert b"quota_exceeded" in text and b"[DONE]" not in text, text[-300:]
    (found,) = quotad.entries(f"budget/crlf-{name}", 1)
    same(quantities(found)["output_tokens"], text.count(b'"content": "t'))


def an_upstream_by_TLS_below_a_prefix():
    folder = world.folder / "upstream"
    make_certificates(folder)
    far = upstream.start((folder / "node.pem", folder / "node.key"))
    url = f"https://localhost:{far.server_address[1]}/some/prefix/"
    secret = {"UPSTREAM_API_KEY": "sk-upstream"}
    known = start_proxy("--fail-closed", url, "https", SSL_CERT_FILE=str(folder / "ca.pem"), **secret)
    text = known.chat("sk-https", "tokens=5")[1].read()
    assert text.endswith(b"data: [DONE]\n\n"), text[-100:]
    same(
        (far.seen[0]["path"], far.seen[0]["key"]), ("/some/prefix/v1/chat/completions", "sk-upstream")
    )
    known.stop()
    same(entry("https", "OK")["output_tokens"], 5)
    doubting = start_proxy("--fail-closed", url, "doubting", SSL_CERT_FILE=str(folder / "other.pem"), **secret)
    same(doubting.chat("sk-nowhere", "tokens=1")[1].status, 502)
    doubting.stop()
    same([each["outcome"] for each in quotad.entries(f"nowhere/{name}", 2)], ["NOT_DISPATCHED"] * 2)
    same(len(far.seen), 1)


def an_upstream_of_another_kind_is_refused_at_the_start():
    keys = world.folder / "keys.json"
    for url in ("ftp://here", "here:80", "http://", "http://me:secret@here", "http://here/?a=b", "http://here:x"):
        flags = ["--listen", "127.0.0.1:0", "--keys", str(keys), "--fail-closed", "--upstream", url]
        done = subprocess.run([*command, *flags], capture_output=True, text=True, timeout=20)
        assert done.returncode != 0 and "http[s]://HOST[:PORT][/PREFIX]" in done.stderr, (url, done.stderr)
        assert "secret" not in done.stderr, done.stderr


def refused(response, status, what):
    same(response.status, status)
    error = json.loads(response.read())["error"]
    assert error["type"] and what in error["message"], error


def what_a_request_gets_wrong_is_400_and_never_sent():
    before = len(vendor.seen)
    models = ["m" * 1_200_000, "m" * 128, "\ud800", "small\nmodel", 7, ["small-model"]]
    counts = [10**30, 1e30, -1, 1.5, "many", True, [4]]
    for wrong in [{"model": model} for model in models] + [
        {field: count} for field in ("max_tokens", "max_completion_tokens", "n") for count in counts
    ]:
        (field,) = wrong
        right = {"max_tokens": 5, "max_completion_tokens": 5}
        refused(proxy.chat("sk-bad", "tokens=1", **{**right, **wrong})[1], 400, field)
    for text in (" ", "{", "[1]", "[" * 100_000, '{"n":' + "9" * 5000 + "}"):
        refused(proxy.post("/v1/chat/completions", "sk-bad", text)[1], 400, "")
    most = {"model": "boundless", "max_completion_tokens": 1, "max_tokens": 1 << 40}
    refused(proxy.chat("sk-bad", "tokens=1", **most)[1], 429, "never fits")  # some vendors read the one, some the other
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.sendall(b"POST /v1/messages HTTP/1.1\r\nhost: here\r\ncontent-length: ten\r\n\r\n")
        assert b" 400 " in raw.recv(100)
    same(len(vendor.seen), before)
    same(quotad.ctl("ledger", "export", f"bad/{name}"), "")
    response = proxy.chat("sk-bad", "tokens=1", model="m" * 127, max_tokens=None, n=2)[1]
    assert response.read().endswith(b"data: [DONE]\n\n")
    entry("bad", "OK")


def refuses(program, key, status):
    """Once it has reached its node, which on a busy machine may not be its first try."""
    until(f"{key} is {status}", lambda: program.chat(key, "tokens=1")[1].status == status)
    before = len(vendor.seen)
    refused(program.chat(key, "tokens=1")[1], status, "")
    same(len(vendor.seen), before)


def only_silence_is_served_unchecked():
    brave = start_proxy("--fail-open", world.vendor_url, "brave")
    refused(brave.chat("sk-bad", "tokens=1", model="m" * 1_200_000)[1], 400, "model")
    refuses(brave, "sk-vast", 400)  # gRPC takes no such message
    brave.stop()
    folder = world.folder / "unproven"
    folder.mkdir()
    (folder / "credentials.yaml").write_text("- {name: edge, role: gateway, san: edge.example}\n")
    strict = Quotad(folder, ("--credentials", folder / "credentials.yaml"))
    try:
        stranger = start_proxy("--fail-open", world.vendor_url, "unproven", strict)
        refuses(stranger, "sk-unproven", 503)
        stranger.stop()
    finally:
        strict.process.kill()


def away_and_closed_is_503():
    quotad.stop()
    before = len(vendor.seen)
    connection, response = proxy.chat("sk-closed", "tokens=1")
    same((response.status, response.getheader("retry-after")), (503, "1"))
    same(len(vendor.seen), before)


def away_and_open_is_served_and_booked_later():
    brave = start_proxy("--fail-open", world.vendor_url, "open")
    connection, response = brave.chat("sk-open", "tokens=10")
    text = response.read()
    assert text.endswith(b"data: [DONE]\n\n"), text[-100:]
    quotad.start()
    found = quotad.entries(f"open/{name}", 1)[0]
    same(
        (quantities(found), found["model"], found["reservation_id"]),
        ({**ALL, "output_tokens": 10}, "small-model", ""),
    )
    brave.stop()


def it_serves_again_once_quotad_is_back():
    until("a check is answered", lambda: proxy.chat("sk-back", "tokens=1")[1].status == 200)


def by_TLS_it_shows_its_certificate():
    secure, (ca, cert, key) = secure_quotad(world.folder / "secure")
    try:
        known = start_proxy(
            f"--fail-closed --quotad-ca {ca} --quotad-cert {cert} --quotad-key {key}",
            world.vendor_url,
            "known",
            secure,
        )
        known.chat("sk-secure", "tokens=5")[1].read()
        same(entry("secure", "OK", secure), {**ALL, "output_tokens": 5})
        known.stop()
        stranger = start_proxy(f"--fail-closed --quotad-ca {ca}", world.vendor_url, "stranger", secure)
        same(stranger.chat("sk-stranger", "tokens=1")[1].status, 503)
        stranger.stop()
        secure.stop()
    finally:
        secure.process.kill()


def a_stop_waits_for_the_open_answers():
    connection, response = proxy.chat("sk-stream", "tokens=20 pause_ms=20")
    response.readline()
    proxy.stop()
    assert response.read().endswith(b"data: [DONE]\n\n")
    quotad.entries(f"stream/{name}", 2)


try:
    proxy = start_proxy("--fail-closed", world.vendor_url, "proxy")
    all_ok = run_cases(
        name,
        [
            a_stream_comes_as_it_is_produced_and_is_booked_as_the_vendor_says,
            a_long_one_is_extended_and_booked_once,
            what_is_not_streamed_is_booked_too,
            anthropics_stream_is_booked_at_the_price_of_its_cache_writes,
            cache_writes_of_two_kinds_are_two_parts,
            openais_responses_are_booked,
            a_denied_one_is_429_and_never_sent,
            an_unknown_key_is_401,
            a_client_that_goes_is_reported_and_the_vendor_stopped,
            a_client_that_goes_while_the_vendor_is_silent_is_seen_at_once,
            a_client_that_goes_before_the_answer_pays_for_the_input,
            a_client_that_goes_before_quotads_answer_leaves_nothing_held,
            a_vendor_that_breaks_off_is_told_and_reported,
            a_vendor_that_fails_costs_nothing,
            a_vendor_that_sends_elsewhere_is_not_followed_with_its_key,
            a_vendor_that_is_not_there_is_502_and_not_dispatched,
            a_budget_that_is_used_up_stops_the_output,
            of_a_budget_of_money_nobody_is_told_amounts,
            a_stream_whose_lines_end_with_CR_LF_is_stopped_too,
            an_upstream_by_TLS_below_a_prefix,
            an_upstream_of_another_kind_is_refused_at_the_start,
            what_a_request_gets_wrong_is_400_and_never_sent,
            only_silence_is_served_unchecked,
            nothing_stays_held,
            away_and_closed_is_503,
            away_and_open_is_served_and_booked_later,
            it_serves_again_once_quotad_is_back,
            by_TLS_it_shows_its_certificate,
            a_stop_waits_for_the_open_answers,
        ],
    )
    if not all_ok:
        print("    " + (world.folder / "proxy.log").read_text()[-3000:].replace("\n", "\n    "))
finally:
    world.end()
    temporary.cleanup()
sys.exit(not all_ok)

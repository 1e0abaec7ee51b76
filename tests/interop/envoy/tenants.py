"""deploy/envoy/envoy-tenants.yaml: descriptors that name tenants of the policy share its budgets with native calls."""

import json

from world import SNIPPETS, main, room, same, until


def cases(world):
    envoy = world.envoy((SNIPPETS / "envoy-tenants.yaml").read_text())
    node = world.node

    def ask(tenant, *headers, path="/v1/chat"):
        return envoy.get(path, f"x-tenant: {tenant}", "x-model: small-model", *headers)

    def used(tenant, meter):
        """In the ledger."""
        entries = [json.loads(line) for line in node.ctl("ledger", "export", tenant).splitlines()]
        amounts = (each for entry in entries for each in entry["quantities"])
        return sum(int(each["amount"]) for each in amounts if each["meter"] == meter)

    def booked(tenant, **wanted):
        until(f"{wanted} of {tenant}", lambda: all(used(tenant, meter) == n for meter, n in wanted.items()))

    def the_request_above_the_plans_limit_gets_a_429():
        room(60)
        same([ask("alice").status for _ in range(21)], [200] * 20 + [429])
        same(used("alice", "requests"), 20)

    def native_checks_see_envoys_requests():
        node.ctl("check", "alice", "--model", "small-model", "--use", "max_output_tokens=1", code=2)
        same(ask("bob").status, 200)
        node.ctl("check", "bob", "--model", "small-model", "--use", "max_output_tokens=1", "--no-reservation")

    def tokens_of_an_answer_are_in_the_ledger():
        same(ask("acme/search", "x-usage: 139", "x-prompt: 100").status, 200)
        booked("acme/search", requests=1, input_tokens=100, output_tokens=39)
        entries = [json.loads(line) for line in node.ctl("ledger", "export", "acme/search").splitlines()]
        same({entry["model"] for entry in entries}, {"small-model"})
        node.ctl("verify")

    def what_was_used_denies_what_follows():
        same(ask("carol", "x-usage: 1001").status, 200)
        booked("carol", output_tokens=1001)
        same(ask("carol").status, 429)
        node.ctl("check", "carol", "--model", "small-model", "--use", "max_output_tokens=1", code=2)
        same(used("carol", "requests"), 1, "a denied one is not booked")

    def tokens_of_a_stream_are_in_the_ledger():
        answer = ask("acme/chat", "x-usage: 139", "x-prompt: 100", path="/stream")
        assert answer.body.endswith("data: [DONE]\n\n"), answer
        booked("acme/chat", requests=1, input_tokens=100, output_tokens=39)

    def who_takes_compressed_answers_is_charged():
        headers = ["x-tenant: grace", "x-model: small-model", "accept-encoding: gzip", "x-usage: 139", "x-prompt: 100"]
        same(envoy.codes(1, "/v1/chat", *headers), [200])
        booked("grace", requests=1, input_tokens=100, output_tokens=39)

    def what_a_stream_used_denies_what_follows():
        same(ask("dave", "x-usage: 1001", path="/stream").status, 200)
        booked("dave", output_tokens=1001)
        same(ask("dave", path="/stream").status, 429)
        same(used("dave", "requests"), 1, "a denied one is not booked")

    def a_stream_without_usage_is_charged_no_tokens():
        """Its request lacks include_usage: a way around, which the README tells."""
        same(ask("erin", path="/stream").status, 200)
        same(ask("erin", "x-usage: 5", path="/stream").status, 200)
        booked("erin", requests=2, output_tokens=5)

    def a_request_without_a_model_does_not_pass():
        seen = len(world.upstream.seen)
        for headers in ([], ["x-model;"]):  # curl's way to send an empty one
            answer = envoy.get("/v1/chat", "x-tenant: frank", *headers)
            same((answer.status, json.loads(answer.body)["error"]["code"]), (429, "unknown_price"), headers)
        same(len(world.upstream.seen), seen, "requests that the upstream saw")
        same(ask("frank").status, 200)
        booked("frank", requests=1)

    def a_request_without_a_tenant_does_not_pass():
        seen = len(world.upstream.seen)
        same([envoy.get("/v1/chat", *headers).status for headers in ([], ["x-model: small-model"])], [400, 400])
        same(envoy.get("/v1/chat", "x-tenant;", "x-model: small-model").status, 429, "no path")
        same(len(world.upstream.seen), seen, "requests that the upstream saw")

    def what_is_no_tenant_does_not_pass():
        errors = envoy.limited("error")
        same([ask(tenant).status for tenant in ("not a path!", "a//b", "x" * 600, "t\xff")], [429] * 4)
        same(envoy.get("/v1/chat", "x-tenant: acme/search", "x-model: " + "m" * 200).status, 429)
        same(envoy.limited("error") - errors, 0, "nor where errors pass")

    return [
        the_request_above_the_plans_limit_gets_a_429,
        native_checks_see_envoys_requests,
        tokens_of_an_answer_are_in_the_ledger,
        what_was_used_denies_what_follows,
        tokens_of_a_stream_are_in_the_ledger,
        who_takes_compressed_answers_is_charged,
        what_a_stream_used_denies_what_follows,
        a_stream_without_usage_is_charged_no_tokens,
        a_request_without_a_model_does_not_pass,
        a_request_without_a_tenant_does_not_pass,
        what_is_no_tenant_does_not_pass,
    ]


main("envoy_tenants", [], cases, ["--policy", SNIPPETS / "policy.yaml"])

"""deploy/envoy/envoy-tenants.yaml: descriptors that name tenants of the policy share its budgets with native calls."""

import json

from world import SNIPPETS, main, room, same, until


def cases(world):
    envoy = world.envoy((SNIPPETS / "envoy-tenants.yaml").read_text())
    node = world.node

    def ask(tenant, *headers):
        return envoy.get("/v1/chat", f"x-tenant: {tenant}", "x-model: small-model", *headers)

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

    def what_is_no_tenant_does_not_pass():
        errors = envoy.limited("error")
        same([ask(tenant).status for tenant in ("not a path!", "a//b", "x" * 600, "t\xff")], [429] * 4)
        same(envoy.get("/v1/chat", "x-tenant: acme/search", "x-model: " + "m" * 200).status, 429)
        same(envoy.limited("error") - errors, 0, "nor where errors pass")
        same(envoy.get("/v1/chat").status, 200, "without the header there is no descriptor")

    return [
        the_request_above_the_plans_limit_gets_a_429,
        native_checks_see_envoys_requests,
        tokens_of_an_answer_are_in_the_ledger,
        what_was_used_denies_what_follows,
        what_is_no_tenant_does_not_pass,
    ]


main("envoy_tenants", [], cases, ["--policy", SNIPPETS / "policy.yaml"])

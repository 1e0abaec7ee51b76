"""deploy/envoy/envoy-llm.yaml: what a response used is charged after it (apply_on_stream_done)."""

import json

from world import SNIPPETS, main, room, same, until

LIMIT = 1000
LARGE_LIMIT = 300


def cases(world):
    envoy = world.envoy((SNIPPETS / "envoy-llm.yaml").read_text())

    def left(user):
        """What Envoy says is left; asking by 0 hits counts nothing, and neither does a response without usage."""
        return int(envoy.get("/chat", f"x-user: {user}").headers["x-ratelimit-remaining"])

    def charged(user, remaining):
        """The charge comes after the response, and nobody waits for it."""
        until(f"{remaining} left of {user}", lambda: left(user) == remaining)

    def ask(user, usage, *headers, path="/chat"):
        return envoy.get(path, f"x-user: {user}", f"x-usage: {usage}", *headers, body="{}")

    def usage_of_a_json_answer_is_charged_after_it():
        room(3600, 60)
        answer = ask("alice", 139)
        same((answer.status, answer.headers["x-ratelimit-remaining"]), (200, str(LIMIT)), "it was asked for with 0 hits")
        same(json.loads(answer.body)["usage"]["total_tokens"], 139, "the answer is the upstream's")
        charged("alice", LIMIT - 139)

    def usage_of_a_stream_is_charged_after_it():
        room(3600, 60)
        answer = ask("bob", 250, path="/stream")
        assert answer.body.endswith("data: [DONE]\n\n"), answer
        charged("bob", LIMIT - 250)

    def who_takes_compressed_answers_is_charged():
        room(3600, 60)
        answer = ask("judy", 139, "accept-encoding: gzip")
        same(("content-encoding" in answer.headers, json.loads(answer.body)["usage"]["total_tokens"]), (False, 139))
        charged("judy", LIMIT - 139)

    def what_was_used_denies_what_follows():
        room(3600, 60)
        same(ask("carol", LIMIT + 500).status, 200, "the first, of which nobody knew")
        until("a later one is denied", lambda: ask("carol", 1).status == 429)
        answer = ask("carol", 1)
        same((answer.status, answer.headers["x-envoy-ratelimited"]), (429, "true"))
        same(ask("dave", 1).status, 200, "another user")

    def a_budget_that_is_spent_to_the_last_token_admits_one_more():
        room(3600, 60)
        same(ask("erin", LIMIT).status, 200)
        charged("erin", 0)
        same(ask("erin", 1).status, 200, "0 hits fit beside the limit")
        until("then no more", lambda: ask("erin", 0).status == 429)

    def a_denied_request_is_not_charged():
        room(3600, 60)
        ask("frank", LIMIT + 1)
        until("denied", lambda: ask("frank", 100).status == 429)
        counted = world.node.metric("quotad_rls_descriptors_total")
        same(envoy.codes(5, "/chat", "x-user: frank"), [429] * 5)
        same(world.node.metric("quotad_rls_descriptors_total") - counted, 5, "one look each, and no charge")

    def an_answer_without_usage_charges_nothing():
        room(3600, 60)
        same(envoy.codes(3, "/chat", "x-user: grace"), [200] * 3)
        same(left("grace"), LIMIT)

    def a_stream_that_breaks_off_before_its_usage_is_not_charged():
        room(3600, 60)
        try:
            envoy.get("/stream", "x-user: heidi", "x-usage: 77", "x-cut: 1")
        except AssertionError as broken:  # curl says so
            assert "curl" in str(broken), broken
        ask("heidi", 5)
        charged("heidi", LIMIT - 5)

    def a_dear_model_has_its_own_budget():
        room(3600, 60)
        same(ask("ivan", LARGE_LIMIT + 1, "x-model: large-model").status, 200)
        until("the model is denied", lambda: ask("ivan", 0, "x-model: large-model").status == 429)
        same(ask("ivan", 0, "x-model: small-model").status, 200)
        charged("ivan", LIMIT - LARGE_LIMIT - 1)

    def nobody_loses_a_token_in_parallel():
        room(3600, 60)
        codes = envoy.codes(100, "/chat", "x-user: parallel", "x-usage: 3", parallel=25)
        same(codes, [200] * 100)
        charged("parallel", LIMIT - 300)

    return [
        usage_of_a_json_answer_is_charged_after_it,
        usage_of_a_stream_is_charged_after_it,
        who_takes_compressed_answers_is_charged,
        what_was_used_denies_what_follows,
        a_budget_that_is_spent_to_the_last_token_admits_one_more,
        a_denied_request_is_not_charged,
        an_answer_without_usage_charges_nothing,
        a_stream_that_breaks_off_before_its_usage_is_not_charged,
        a_dear_model_has_its_own_budget,
        nobody_loses_a_token_in_parallel,
    ]


main("envoy_llm", [SNIPPETS / "rls" / "llm.yaml"], cases)

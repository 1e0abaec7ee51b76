"""deploy/envoy/envoy.yaml with the rules of deploy/envoy/rls: who gets a 429, and when."""

import time

from world import SNIPPETS, main, room, same


def cases(world):
    envoy = world.envoy((SNIPPETS / "envoy.yaml").read_text())
    node = world.node

    def key(name):
        return f"x-api-key: {name}"

    def the_request_above_the_limit_gets_a_429():
        room(60)
        same(envoy.codes(20, "/v1/chat", key("alice")), [200] * 20)
        seen, over = len(world.upstream.seen), envoy.limited("over_limit")
        answer = envoy.get("/v1/chat", key("alice"))
        same(answer.status, 429)
        same(answer.headers["x-envoy-ratelimited"], "true")
        same(len(world.upstream.seen), seen, "requests that the upstream saw")
        same(envoy.limited("over_limit"), over + 1, "Envoy's own count")
        same(envoy.get("/v1/chat", key("bob")).status, 200, "another key")

    def x_ratelimit_headers_are_of_the_tightest_limit():
        room(60)
        before = 60 - time.time() % 60
        headers = envoy.get("/v1/chat", key("carol")).headers
        after = 60 - time.time() % 60
        same(headers["x-ratelimit-limit"], '20, 600;w=60, 20;w=60;name="per-key"')
        same(headers["x-ratelimit-remaining"], "19")
        assert after - 1 <= int(headers["x-ratelimit-reset"]) <= before + 1, (headers, after, before)
        same(envoy.codes(19, "/v1/chat", key("carol")), [200] * 19)
        denied = envoy.get("/v1/chat", key("carol"))
        same((denied.status, denied.headers["x-ratelimit-remaining"]), (429, "0"))

    def requests_in_parallel_pass_exactly_as_often():
        room(60)
        codes = envoy.codes(120, "/v1/chat", key("parallel"), parallel=40)
        same((codes.count(200), codes.count(429)), (20, 100))

    def the_client_address_is_a_descriptor():
        room(60)
        first, second = (int(envoy.get("/v1/chat").headers["x-ratelimit-remaining"]) for _ in range(2))
        same(second, first - 1)

    def a_path_has_its_own_limit_on_its_own_route():
        room(60)
        before = int(envoy.get("/v1/chat").headers["x-ratelimit-remaining"])
        same(envoy.codes(11, "/v1/models", key("dave")), [200] * 10 + [429])
        same(envoy.get("/v1/models", key("erin")).status, 429, "whoever asks")
        same(envoy.get("/v1/models?of=erin").status, 200, "another path, which no rule names")
        after = int(envoy.get("/v1/chat").headers["x-ratelimit-remaining"])
        same(before - after, 1, "the route leaves out the virtual host's")
        same(int(envoy.get("/v1/chat", key("dave")).headers["x-ratelimit-remaining"]), 19)

    def nested_descriptors_of_a_route_come_with_the_hosts():
        room(3600, 60)
        room(60)
        same(envoy.codes(6, "/v1/images/cat", key("frank")), [200] * 5 + [429])
        same(envoy.get("/v1/images/cat", key("grace")).status, 200)
        answer = envoy.get("/v1/chat", key("frank"))
        same(answer.headers["x-ratelimit-remaining"], "13", "the six were counted for the key, too")

    def a_missing_header_makes_no_descriptor():
        same(envoy.codes(8, "/v1/images/dog"), [200] * 8)

    def an_unlimited_key_always_passes():
        same(envoy.codes(30, "/v1/chat", key("nightly-batch")), [200] * 30)

    def shadow_mode_denies_nobody_and_is_counted():
        room(60)
        over = 'quotad_rls_descriptors_total{result="over_limit"}'
        before = node.metric(over)
        same(envoy.codes(5, "/v1/chat", key("trial-7")), [200] * 5)
        same(node.metric(over) - before, 3)

    def a_header_that_is_no_text_is_counted():
        """A client may send it, and whom Envoy cannot ask about passes."""
        room(60)
        same(envoy.codes(21, "/v1/chat", b"x-api-key: \xff\xfe"), [200] * 20 + [429])
        same(envoy.limited("error"), 0)

    def a_very_long_header_is_counted():
        room(60)
        same(envoy.codes(21, "/v1/chat", "x-api-key: " + "k" * 50000), [200] * 20 + [429])
        same(envoy.limited("error"), 0)

    return [
        the_request_above_the_limit_gets_a_429,
        x_ratelimit_headers_are_of_the_tightest_limit,
        requests_in_parallel_pass_exactly_as_often,
        the_client_address_is_a_descriptor,
        a_path_has_its_own_limit_on_its_own_route,
        nested_descriptors_of_a_route_come_with_the_hosts,
        a_missing_header_makes_no_descriptor,
        an_unlimited_key_always_passes,
        shadow_mode_denies_nobody_and_is_counted,
        a_header_that_is_no_text_is_counted,
        a_very_long_header_is_counted,
    ]


main("envoy_plain", [SNIPPETS / "rls" / "edge.yaml"], cases)

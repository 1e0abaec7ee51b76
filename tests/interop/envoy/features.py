"""What Envoy can ask beyond the configurations of deploy/envoy: costs from headers and metadata, refunds, limits that the
request brings, other kinds of descriptors, and rules that change while it runs."""

import bootstrap
from world import HERE, main, need, room, same, until


def header(name, key):
    return {"request_headers": {"header_name": name, "descriptor_key": key}}


def metadata(key):
    return {"format": f"%DYNAMIC_METADATA(test:{key})%"}


def generic(key, value):
    return {"generic_key": {"descriptor_key": key, "descriptor_value": value}}


COST = [header("x-key", "cost")]
REFUNDED = [header("x-key", "refunded")]
OWN = {"dynamic_metadata": {"metadata_key": {"key": "test", "path": [{"key": "limit"}]}}}
BATCH = {"descriptor_value": "is-batch", "headers": [{"name": "x-kind", "string_match": {"exact": "batch"}}]}

# By the request's host: what it is counted for.
HOSTS = {
    "cost-of-a-header": [{"actions": COST, "hits_addend": {"format": "%REQ(x-cost)%"}}],
    "cost-of-metadata": [{"actions": COST, "hits_addend": metadata("cost")}],
    "fixed-cost": [{"actions": COST, "hits_addend": {"number": 4}}],
    "cost-of-metadata-after": [
        {"actions": COST, "hits_addend": {"number": 0}},
        {"actions": COST, "hits_addend": metadata("usage"), "apply_on_stream_done": True},
    ],
    "cost-of-an-answer": [
        {"actions": COST, "hits_addend": {"number": 0}},
        {"actions": COST, "hits_addend": {"format": "%RESP(x-usage-total)%"}, "apply_on_stream_done": True},
    ],
    "refunded": [
        {"actions": REFUNDED},
        {
            "actions": REFUNDED,
            "hits_addend": {"number": 1, "is_negative_hits": True},
            "apply_on_stream_done": True,
        },
    ],
    "own-limit": [{"actions": [header("x-key", "own")], "limit": OWN}],
    "generic": [{"actions": [{"generic_key": {"descriptor_value": "everyone"}}]}],
    "match": [{"actions": [{"header_value_match": BATCH}]}],
    "query": [{"actions": [{"query_parameters": {"query_parameter_name": "model", "descriptor_key": "model"}}]}],
    "masked": [{"actions": [{"masked_remote_address": {"v4_prefix_mask_len": 8}}, {"remote_address": {}}]}],
    "cluster": [{"actions": [{"destination_cluster": {}}]}],
    "pools": [{"actions": [generic("pool", "east")]}, {"actions": [header("x-pool", "pool")]}],
    "replaces": [{"actions": [header("x-gold", "gold")]}, {"actions": [header("x-key", "silver")]}],
    "shared": [{"actions": [header(":path", "file")]}],
    "tick": [{"actions": [header("x-key", "tick")]}],
    "reloaded": [{"actions": [generic("reloaded", "x")]}],
    "unknown": [{"actions": [generic("nobody", "limits this")]}],
}


def to_metadata(rule, name, key):
    return {"header": name, rule: {"metadata_namespace": "test", "key": key, "type": "NUMBER"}}


def configuration():
    filters = [
        bootstrap.http_filter(
            "set_metadata",
            "Config",
            metadata=[{"metadata_namespace": "test", "value": {"limit": {"requests_per_unit": 2, "unit": "HOUR"}}}],
        ),
        bootstrap.http_filter(
            "header_to_metadata",
            "Config",
            request_rules=[to_metadata("on_header_present", "x-cost", "cost")],
            response_rules=[to_metadata("on_header_present", "x-usage-total", "usage")],
        ),
        bootstrap.rate_limit("features", timeout="10s", enable_x_ratelimit_headers="DRAFT_VERSION_03"),
    ]
    hosts = [bootstrap.host(name, rate_limits) for name, rate_limits in HOSTS.items()]
    told = {"key": "x-domain", "value": "%DYNAMIC_METADATA(envoy.filters.http.ratelimit:domain)%"}
    hosts[0]["response_headers_to_add"] = [{"header": told}]
    return bootstrap.whole([bootstrap.listener("http", filters, hosts)])


def cases(world):
    envoy = world.envoy(configuration())
    node = world.node

    def get(host, *headers, path="/"):
        return envoy.get(path, f"host: {host}", *headers)

    def status(host, *headers, path="/"):
        return get(host, *headers, path=path).status

    def statuses(count, host, *headers):
        return envoy.codes(count, "/", f"host: {host}", *headers)

    def a_cost_comes_from_a_header():
        room(3600, 60)
        same(status("cost-of-a-header", "x-key: a", "x-cost: 7"), 200)
        same(status("cost-of-a-header", "x-key: a", "x-cost: 3"), 200)
        same(status("cost-of-a-header", "x-key: a", "x-cost: 1"), 429)

    def a_cost_above_the_rest_is_counted_though_it_is_denied():
        room(3600, 60)
        same(status("cost-of-a-header", "x-key: b", "x-cost: 9"), 200)
        same(status("cost-of-a-header", "x-key: b", "x-cost: 2"), 429)
        same(status("cost-of-a-header", "x-key: b", "x-cost: 1"), 429)

    def a_cost_comes_from_metadata():
        room(3600, 60)
        same(get("cost-of-metadata", "x-key: c", "x-cost: 8").headers["x-ratelimit-remaining"], "2")
        same(status("cost-of-metadata", "x-key: c", "x-cost: 3"), 429)

    def a_cost_is_fixed():
        room(3600, 60)
        same(statuses(3, "fixed-cost", "x-key: d"), [200, 200, 429])

    def a_cost_is_large():
        room(3600, 60)
        same(status("cost-of-a-header", "x-key: e", "x-cost: 1000000000"), 429)
        same(get("cost-of-a-header", "x-key: e", "x-cost: 0").headers["x-ratelimit-remaining"], "0")

    def a_cost_that_envoy_cannot_read_leaves_the_descriptor_out():
        room(3600, 60)
        same(status("cost-of-a-header", "x-key: n", "x-cost: 10"), 200)
        for cost in ("1000000001", "many", "-1"):
            answer = get("cost-of-a-header", "x-key: n", f"x-cost: {cost}")
            same((cost, answer.status, "x-ratelimit-limit" in answer.headers), (cost, 200, False))
        same(status("cost-of-a-header", "x-key: n", "x-cost: 1"), 429)

    def usage_comes_from_a_header_of_the_answer():
        room(3600, 60)
        same(status("cost-of-an-answer", "x-key: f", "x-usage: 11"), 200)
        until("a later one is denied", lambda: status("cost-of-an-answer", "x-key: f") == 429)

    def usage_comes_from_metadata_of_the_answer():
        room(3600, 60)
        same(status("cost-of-metadata-after", "x-key: g", "x-usage: 11"), 200)
        until("a later one is denied", lambda: status("cost-of-metadata-after", "x-key: g") == 429)

    def a_hit_is_given_back_after_the_response():
        room(3600, 60)
        for _ in range(6):  # 2 an hour
            asked = node.metric("quotad_rls_descriptors_total")
            same(status("refunded", "x-key: h"), 200)
            until("it is given back", lambda: node.metric("quotad_rls_descriptors_total") == asked + 2)

    def a_request_brings_its_own_limit():
        room(3600, 60)
        same(statuses(3, "own-limit", "x-key: i"), [200, 200, 429])
        same(get("own-limit", "x-key: j").headers["x-ratelimit-limit"], "2, 2;w=3600")

    def generic_keys_are_descriptors():
        room(3600, 60)
        same(statuses(4, "generic"), [200] * 3 + [429])

    def headers_that_match_are_descriptors():
        room(3600, 60)
        same(statuses(2, "match", "x-kind: batch"), [200, 429])
        same(status("match", "x-kind: chat"), 200)

    def query_parameters_are_descriptors():
        room(3600, 60)
        same([status("query", path="/?model=a") for _ in range(3)], [200, 200, 429])
        same(status("query", path="/?model=b"), 200)

    def addresses_of_a_network_are_descriptors():
        room(3600, 60)
        same(statuses(5, "masked"), [200] * 4 + [429])

    def clusters_are_descriptors():
        room(3600, 60)
        same(statuses(3, "cluster"), [200, 200, 429])

    def quota_mode_denies_only_when_all_are_over():
        room(3600, 60)
        same(statuses(2, "pools", "x-pool: west"), [200, 429])
        same(status("pools", "x-pool: north"), 200, "east is over, north is not")
        same(status("pools", "x-pool: north"), 429)

    def a_rule_replaces_another():
        room(3600, 60)
        same(statuses(3, "replaces", "x-gold: yes", "x-key: k"), [200] * 3)
        same(statuses(2, "replaces", "x-key: k"), [200, 429])

    def a_wildcard_shares_one_counter():
        room(3600, 60)
        same([status("shared", path=f"/files/{n}.png") for n in (1, 2, 3)], [200, 200, 429])
        same(status("shared", path="/files/1.txt"), 200)

    def a_window_ends():
        same(status("tick", "x-key: l"), 200)
        until("the next second", lambda: status("tick", "x-key: l") == 200)

    def what_no_rule_names_passes_without_headers():
        answer = get("unknown")
        same(answer.status, 200)
        assert "x-ratelimit-limit" not in answer.headers, answer

    def a_rule_that_changes_changes_the_answers():
        rule = "domain: features2\ndescriptors:\n  - {key: x, rate_limit: {unit: hour, requests_per_unit: 1}}\n"
        room(3600, 60)
        same(statuses(3, "reloaded"), [200] * 3, "no rule")
        text = (HERE / "features.yaml").read_text()
        more = "  - {key: reloaded, rate_limit: {unit: hour, requests_per_unit: %d}}\n"
        node.rule("features.yaml", text + more % 2)
        same(statuses(3, "reloaded"), [200, 200, 429])
        node.rule("features.yaml", text + more % 5)
        same(statuses(3, "reloaded"), [200, 200, 429], "three are counted")
        node.rule("more.yaml", rule)
        node.rule("features.yaml", text + "  - {keey: x}\n", "rate limits refused")
        same(status("reloaded"), 429, "a wrong file changes nothing")
        node.rule("features.yaml", text)
        same(status("reloaded"), 200, "no rule again")

    def headers_and_metadata_of_the_node_reach_envoy():
        need("--rls-headers", "--rls-metadata")
        node.stop()
        node.arguments = ("--rls-headers", "--rls-metadata")
        node.start()
        room(3600, 60)
        answer = until("an answer of the node", lambda: get_limited("x-key: m", "x-cost: 7"))
        same([answer.headers[f"ratelimit-{name}"] for name in ("limit", "remaining")], ["10", "3"])
        same(answer.headers["x-domain"], "features")
        same(status("cost-of-a-header", b"x-key: \xff", "x-cost: 10"), 200, "bytes that are no text")
        same(status("cost-of-a-header", b"x-key: \xff", "x-cost: 1"), 429)

    def get_limited(*headers):
        answer = get("cost-of-a-header", *headers)
        return answer if "x-ratelimit-limit" in answer.headers else None

    return [
        a_cost_comes_from_a_header,
        a_cost_above_the_rest_is_counted_though_it_is_denied,
        a_cost_comes_from_metadata,
        a_cost_is_fixed,
        a_cost_is_large,
        a_cost_that_envoy_cannot_read_leaves_the_descriptor_out,
        usage_comes_from_a_header_of_the_answer,
        usage_comes_from_metadata_of_the_answer,
        a_hit_is_given_back_after_the_response,
        a_request_brings_its_own_limit,
        generic_keys_are_descriptors,
        headers_that_match_are_descriptors,
        query_parameters_are_descriptors,
        addresses_of_a_network_are_descriptors,
        clusters_are_descriptors,
        quota_mode_denies_only_when_all_are_over,
        a_rule_replaces_another,
        a_wildcard_shares_one_counter,
        a_window_ends,
        what_no_rule_names_passes_without_headers,
        a_rule_that_changes_changes_the_answers,
        headers_and_metadata_of_the_node_reach_envoy,
    ]


main("envoy_features", [HERE / "features.yaml"], cases)

"""What Envoy does when the node does not answer, and what the node still knows when it is back."""

import signal
import threading
import time

import bootstrap
from world import HERE, main, room, same, until

KEYED = [{"actions": [{"request_headers": {"header_name": "x-key", "descriptor_key": "cost"}}]}]
SPENT = [
    {"actions": KEYED[0]["actions"], "hits_addend": {"number": 0}},
    {"actions": KEYED[0]["actions"], "hits_addend": {"format": "%RESP(x-usage-total)%"}, "apply_on_stream_done": True},
]


def configuration():
    hosts = [bootstrap.host("spent", SPENT), bootstrap.host("keyed", KEYED, ["*"])]

    def listener(name, **fields):
        return bootstrap.listener(name, [bootstrap.rate_limit("features", **fields)], hosts)

    return bootstrap.whole(
        [
            listener("open", timeout="10s"),
            listener("closed", timeout="10s", failure_mode_deny=True),
            listener(
                "closed-503", timeout="10s", failure_mode_deny=True, status_on_error={"code": "ServiceUnavailable"}
            ),
            listener("hasty"),  # Envoy's own default, 20 ms
            listener("hasty-closed", failure_mode_deny=True),
        ]
    )


def cases(world):
    envoy = world.envoy(configuration())
    node = world.node

    def status(listener, key, *headers):
        return envoy.get("/", f"x-key: {key}", *headers, listener=listener).status

    def statuses(count, listener, key):
        return envoy.codes(count, "/", f"x-key: {key}", listener=listener)

    def modes(key):
        return [status(name, key) for name in ("open", "closed", "closed-503")]

    def all_listeners_ask_one_counter():
        room(3600, 120)
        same(modes("a"), [200, 200, 200])
        same(statuses(8, "closed", "a"), [200] * 7 + [429])
        same(modes("a"), [429, 429, 429])

    def I3_point_15_a_node_that_is_down_lets_pass_or_denies_as_envoys_user_said():
        node.stop()
        allowed, errors = envoy.limited("failure_mode_allowed"), envoy.limited("error")
        same(modes("b"), [200, 500, 503])
        same(envoy.limited("failure_mode_allowed"), allowed + 1)
        same(envoy.limited("error"), errors + 3)
        same(status("open", "a"), 200, "also who was over")

    def usage_of_a_response_while_the_node_is_down_is_lost():
        same(status("open", "lost", "host: spent", "x-usage: 11"), 200)

    def a_node_that_is_back_limits_again_and_remembers():
        node.start()
        until("it limits again", lambda: status("closed", "a") == 429)
        same(modes("b"), [200, 200, 200])
        same(status("closed", "lost", "host: spent"), 200, "what was used meanwhile, nobody knows")

    def a_node_that_is_killed_keeps_what_was_counted():
        room(3600, 120)
        same(statuses(9, "closed", "c"), [200] * 9)
        node.stored()
        node.signal(signal.SIGKILL)
        same(status("closed", "c"), 500)
        node.start()
        until("it is back", lambda: status("closed", "waits for it") != 500)
        same(statuses(2, "closed", "c"), [200, 429])

    def a_node_that_hangs_costs_envoys_timeout():
        allowed = envoy.limited("failure_mode_allowed")
        node.signal(signal.SIGSTOP)
        try:
            begun = time.monotonic()
            same([status("hasty", "a"), status("hasty-closed", "a")], [200, 500])
            assert time.monotonic() - begun < 10, "it waited for more than its 20 ms"
            codes = envoy.codes(60, "/", "x-key: a", listener="hasty", parallel=30)
            same(codes, [200] * 60, "as all are let pass")
            same(envoy.limited("failure_mode_allowed"), allowed + 61)
        finally:
            node.signal(signal.SIGCONT)

    def a_node_that_goes_on_limits_again():
        until("it limits again", lambda: status("closed", "a") == 429)
        same(status("closed", "b2"), 200)

    def a_node_without_rules_is_an_error():
        node.stop()
        node.start(with_rules=False)
        answered = envoy.figure("cluster.quotad.upstream_rq_200")
        same(modes("d"), [200, 500, 503])
        same(envoy.figure("cluster.quotad.upstream_rq_200") - answered, 3, "answers of the node, each an error")
        node.stop()
        node.start()
        until("it limits again", lambda: status("closed", "a") == 429)

    def many_at_once_are_all_decided():
        room(3600, 120)
        codes = envoy.codes(400, "/", "x-key: many", listener="closed", parallel=100)
        same((codes.count(200), codes.count(429)), (10, 390))

    def a_stop_in_the_midst_of_load_is_no_denial():
        room(3600, 120)
        codes = []
        load = threading.Thread(
            target=lambda: codes.extend(envoy.codes(300, "/", "x-tick: 1", listener="open", parallel=10))
        )
        load.start()
        node.stop()
        node.start()
        load.join()
        same((len(codes), set(codes)), (300, {200}))

    return [
        all_listeners_ask_one_counter,
        I3_point_15_a_node_that_is_down_lets_pass_or_denies_as_envoys_user_said,
        usage_of_a_response_while_the_node_is_down_is_lost,
        a_node_that_is_back_limits_again_and_remembers,
        a_node_that_is_killed_keeps_what_was_counted,
        a_node_that_hangs_costs_envoys_timeout,
        a_node_that_goes_on_limits_again,
        a_node_without_rules_is_an_error,
        many_at_once_are_all_decided,
        a_stop_in_the_midst_of_load_is_no_denial,
    ]


main("envoy_failures", [HERE / "features.yaml"], cases)

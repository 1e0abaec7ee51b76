"""deploy/envoy's resources for Istio, Envoy Gateway and Envoy AI Gateway. There is no Kubernetes here: their patches are
applied, as those systems' documents say, to an Envoy configuration of the shape that they make, and that is run."""

import copy
import hashlib

import yaml

import bootstrap
from world import SNIPPETS, main, need, room, same, until

MANAGER = "envoy.filters.network.http_connection_manager"
SERVICE = "quotad.quotad.svc.cluster.local"


def resources(name, kind):
    found = [each for each in yaml.safe_load_all((SNIPPETS / name).read_text()) if each["kind"] == kind]
    assert found, f"{name} has no {kind}"
    return found


def local(text):
    """What the cluster's DNS would do."""
    assert SERVICE in text
    return text.replace(SERVICE, "127.0.0.1")


def gateway(filters=()):
    """The listener of a gateway before it is patched, and its cluster."""
    made = bootstrap.listener("http", list(filters), [bootstrap.host("example.com:80", [], ["*"])])
    del made["filter_chains"][0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0][
        "typed_per_filter_config"
    ]
    return made, [bootstrap.cluster("upstream", 8000)]


def manager_of(chain):
    return next(each["typed_config"] for each in chain["filters"] if each["name"] == MANAGER)


# --- Istio ---


def merged(target, value):
    """Protobuf's merge: maps by key, lists one after the other."""
    for key, new in value.items():
        if isinstance(new, dict) and isinstance(target.get(key), dict):
            merged(target[key], new)
        elif isinstance(new, list):
            target[key] = target.get(key, []) + new
        else:
            target[key] = copy.deepcopy(new)


def istio(name):
    made, clusters = gateway()
    manager = manager_of(made["filter_chains"][0])
    for patch in (each for resource in resources(name, "EnvoyFilter") for each in resource["spec"]["configPatches"]):
        same(patch["match"]["context"], "GATEWAY")
        operation, value = patch["patch"]["operation"], patch["patch"]["value"]
        what = (patch["applyTo"], operation)
        if what == ("CLUSTER", "ADD"):
            clusters.append(value)
        elif what == ("HTTP_FILTER", "INSERT_BEFORE"):
            named = patch["match"]["listener"]["filterChain"]["filter"]
            same(named["name"], MANAGER)
            names = [each["name"] for each in manager["http_filters"]]
            manager["http_filters"].insert(names.index(named["subFilter"]["name"]), value)
        elif what == ("VIRTUAL_HOST", "MERGE"):
            for host in manager["route_config"]["virtual_hosts"]:
                merged(host, value)
        else:
            raise AssertionError(f"what is {what}?")
    return local(bootstrap.whole([made], clusters))


# --- Envoy Gateway ---


def patched(document, operation):
    """RFC 6902's "add"."""
    same(operation["op"], "add")
    *path, last = [step.replace("~1", "/").replace("~0", "~") for step in operation["path"].split("/")[1:]]
    for step in path:
        document = document[int(step)] if isinstance(document, list) else document[step]
    if isinstance(document, list):
        document.insert(len(document) if last == "-" else int(last), operation["value"])
    else:
        document[last] = operation["value"]


def envoy_gateway(name, filters=()):
    """Its listeners have their filters in the default filter chain."""
    made, clusters = gateway(filters)
    made["default_filter_chain"] = made.pop("filter_chains")[0]
    for patch in (each for resource in resources(name, "EnvoyPatchPolicy") for each in resource["spec"]["jsonPatches"]):
        kind = patch["type"].rsplit(".", 1)[1]
        if kind == "Cluster":
            same((patch["operation"]["path"], patch["name"]), ("", patch["operation"]["value"]["name"]))
            clusters.append(patch["operation"]["value"])
        else:
            same((kind, patch["name"]), ("Listener", "tcp-80"))
            patched(made, patch["operation"])
    return local(bootstrap.whole([made], clusters))


def costs():
    """In place of Envoy AI Gateway's own filter: what the AIGatewayRoute asks for, into the metadata that it uses."""
    route = resources("envoy-ai-gateway.yaml", "AIGatewayRoute")[0]
    (cost,) = route["spec"]["llmRequestCosts"]
    same(cost["type"], "TotalToken")
    value = {"metadata_namespace": "io.envoy.ai_gateway", "key": cost["metadataKey"], "type": "NUMBER"}
    rule = {"selectors": [{"key": "usage"}, {"key": "total_tokens"}], "on_present": value}
    return bootstrap.http_filter("json_to_metadata", "JsonToMetadata", response_rules={"rules": [rule]})


def cases(world):
    def limits_keys(envoy, key):
        room(60)
        same(envoy.codes(21, "/v1/chat", f"x-api-key: {key}"), [200] * 20 + [429])
        answer = envoy.get("/v1/chat", f"x-api-key: {key}")
        same(answer.headers["x-ratelimit-limit"], '20, 600;w=60, 20;w=60;name="per-key"')

    def istios_filter_limits_keys():
        limits_keys(world.envoy(istio("istio.yaml"), "istio"), "istio")

    def envoy_gateways_patch_limits_keys():
        limits_keys(world.envoy(envoy_gateway("envoy-gateway.yaml"), "gateway"), "gateway")

    def envoy_gateways_patches_are_switched_on():
        (switch,) = resources("envoy-gateway.yaml", "ConfigMap")
        settings = yaml.safe_load(switch["data"]["envoy-gateway.yaml"])
        same((settings["kind"], settings["extensionApis"]), ("EnvoyGateway", {"enableEnvoyPatchPolicy": True}))

    def envoy_ai_gateways_tokens_are_charged_after_the_response():
        room(3600, 60)
        envoy = world.envoy(envoy_gateway("envoy-ai-gateway.yaml", [costs()]), "ai-gateway")
        answer = envoy.get("/v1/chat/completions", "x-user-id: alice", "x-usage: 1001")
        same((answer.status, answer.headers["x-ratelimit-remaining"]), (200, "1000"))
        until("a later one is denied", lambda: envoy.get("/v1/chat", "x-user-id: alice").status == 429)
        same(envoy.get("/v1/chat", "x-user-id: bob").status, 200)

    def istios_filter_brings_the_token_of_a_gateway():
        """As to a node behind a sidecar, which lets no certificate through."""
        need("--credentials")
        token = "the token of a gateway"
        credentials = world.folder / "credentials.yaml"
        credentials.write_text(
            f"- {{name: edge, role: gateway, token_sha256: {hashlib.sha256(token.encode()).hexdigest()}}}\n"
        )
        credentials.chmod(0o600)
        world.node.stop()
        world.node.arguments += ("--credentials", credentials)
        world.node.start()
        configuration = yaml.safe_load(istio("istio.yaml"))
        manager = manager_of(configuration["static_resources"]["listeners"][0]["filter_chains"][0])
        limiter = next(each for each in manager["http_filters"] if each["name"] == "envoy.filters.http.ratelimit")
        service = limiter["typed_config"]["rate_limit_service"]["grpc_service"]
        service["initial_metadata"] = [{"key": "authorization", "value": f"Bearer {token}"}]
        limits_keys(world.envoy(yaml.safe_dump(configuration), "token"), "token")
        envoy = world.envoy(istio("istio.yaml"), "no-token")
        same((envoy.get("/v1/chat").status, envoy.limited("error")), (200, 1), "failure_mode_deny is false")

    return [
        istios_filter_limits_keys,
        envoy_gateways_patch_limits_keys,
        envoy_gateways_patches_are_switched_on,
        envoy_ai_gateways_tokens_are_charged_after_the_response,
        istios_filter_brings_the_token_of_a_gateway,
    ]


main("envoy_mesh", [SNIPPETS / "rls" / "edge.yaml", SNIPPETS / "rls" / "llm.yaml"], cases)

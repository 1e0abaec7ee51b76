"""Envoy's configuration, made rather than written, where a case needs a variation that no file of deploy/envoy has. The
ports are those that World.placed replaces."""

import yaml

FILTERS = "type.googleapis.com/envoy.extensions.filters.http"


def http_filter(name, message, **fields):
    typed = {"@type": f"{FILTERS}.{name}.v3.{message}", **fields}
    return {"name": f"envoy.filters.http.{name}", "typed_config": typed}


def rate_limit(domain, **fields):
    service = {"transport_api_version": "V3", "grpc_service": {"envoy_grpc": {"cluster_name": "quotad"}}}
    return http_filter("ratelimit", "RateLimit", domain=domain, rate_limit_service=service, **fields)


def host(name, rate_limits, domains=None):
    per_route = {"@type": f"{FILTERS}.ratelimit.v3.RateLimitPerRoute", "rate_limits": rate_limits}
    return {
        "name": name,
        "domains": domains or [name],
        "typed_per_filter_config": {"envoy.filters.http.ratelimit": per_route},
        "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "upstream"}}],
    }


def listener(name, filters, hosts):
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": name,
        "use_remote_address": True,
        "http_filters": [*filters, http_filter("router", "Router")],
        "route_config": {"name": f"{name}-routes", "virtual_hosts": hosts},
    }
    network = {"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}
    return {"name": name, "address": address(10000), "filter_chains": [{"filters": [network]}]}


def address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def cluster(name, port, **fields):
    endpoint = {"endpoint": {"address": address(port)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STATIC", "connect_timeout": "1s", "load_assignment": assignment, **fields}


HTTP2 = {
    "typed_extension_protocol_options": {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
}


def whole(listeners, clusters=None):
    if clusters is None:
        clusters = [cluster("quotad", 7070, **HTTP2), cluster("upstream", 8000)]
    resources = {"listeners": listeners, "clusters": clusters}
    return yaml.safe_dump({"static_resources": resources, "admin": {"address": address(9901)}}, sort_keys=False)

"""deploy/envoy/envoy-tls.yaml: Envoy and the node know each other by certificates, which the openssl command makes here."""

import os
import re
import subprocess

from world import SNIPPETS, Skip, main, need, room, same, until

HOST = "quotad.example.com"


def openssl(*arguments, stdin=""):
    done = subprocess.run(["openssl", *map(str, arguments)], input=stdin, capture_output=True, text=True, errors="replace", timeout=60)
    assert done.returncode == 0, f"openssl {arguments[0]}: {done.stderr}"
    return done.stdout


class Authority:
    """Makes certificates: folder/NAME.pem and NAME.key."""

    def __init__(self, folder, name="ca"):
        self.folder, self.name = folder, name
        folder.mkdir(exist_ok=True)
        openssl(
            *"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj".split(),
            f"/CN=test {name}",
            "-addext",
            "keyUsage=critical,keyCertSign",
            "-keyout",
            folder / f"{name}.key",
            "-out",
            folder / f"{name}.pem",
        )

    def certify(self, name, subject_alt_name, days=2):
        key, request, extensions = (self.folder / f"{name}.{suffix}" for suffix in ("key", "csr", "ext"))
        openssl(
            *"req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj".split(),
            f"/CN={name}",
            "-keyout",
            key,
            "-out",
            request,
        )
        extensions.write_text(f"subjectAltName={subject_alt_name}\nextendedKeyUsage=serverAuth,clientAuth\n")
        made = self.folder / f"{name}.pem.new"
        openssl(
            *f"x509 -req -days {days} -CAcreateserial -CA".split(),
            self.folder / f"{self.name}.pem",
            "-CAkey",
            self.folder / f"{self.name}.key",
            "-in",
            request,
            "-extfile",
            extensions,
            "-out",
            made,
        )
        os.replace(made, self.folder / f"{name}.pem")
        key.chmod(0o600)


def cases(world):
    tls = world.folder / "tls"
    node = world.node

    def put(name, folder):
        """As Envoy's certificate and key: moved into their place, as Envoy's watch wants it."""
        for suffix in ("key", "pem"):
            new = folder.with_suffix(f".{suffix}")
            new.write_bytes((tls / f"{name}.{suffix}").read_bytes())
            os.replace(new, folder / f"envoy.{suffix}")

    def configuration(tag, certificate="envoy"):
        """envoy-tls.yaml with a folder of its own."""
        folder = world.folder / tag
        folder.mkdir()
        put(certificate, folder)
        (folder / "ca.pem").write_bytes((tls / "ca.pem").read_bytes())
        for name in ("envoy-tls.yaml", "envoy-certificate.yaml"):
            (folder / name).write_text((SNIPPETS / name).read_text().replace("/etc/envoy/tls", str(folder)))
        return (folder / "envoy-tls.yaml").read_text()

    def first(envoy, key):
        return envoy.get("/v1/chat", f"x-api-key: {key}").status

    def started(tag, certificate="envoy"):
        return world.envoy(configuration(tag, certificate), tag)

    def changed(tag, pattern, with_this):
        found, count = re.subn(pattern, with_this, configuration(tag), flags=re.S)
        same(count, 1, f"places of {pattern}")
        return world.envoy(found, tag)

    def envoy_and_the_node_know_each_other():
        room(60)
        envoy = started("mutual")
        same(envoy.codes(21, "/v1/chat", "x-api-key: a"), [200] * 20 + [429])
        same(envoy.figure("cluster.quotad.ssl.handshake") >= 1, True, "it came by TLS")

    def envoy_without_a_certificate_is_refused():
        certificate = r"            tls_certificate_sds_secret_configs:\n.*?(?=            # Who quotad)"
        same(first(changed("anonymous", certificate, ""), "b"), 503)

    def envoy_of_another_authority_is_refused():
        same(first(started("foreigner", "stranger"), "b"), 503)

    def envoy_whose_certificate_has_run_out_is_refused():
        same(first(started("late", "expired"), "b"), 503)

    def envoy_without_tls_is_refused():
        same(first(changed("plaintext", r"      transport_socket:\n.*?(?=      load_assignment)", ""), "b"), 503)

    def a_node_of_another_authority_is_refused():
        same(first(changed("foreign", r"filename: \S*/ca\.pem", f"filename: {tls}/other.pem"), "b"), 503)

    def a_node_of_another_name_is_refused():
        same(first(changed("misnamed", r"exact: quotad\.example\.com", "exact: other.example.com"), "b"), 503)

    def a_certificate_is_replaced_without_a_restart():
        def serial():
            shown = openssl(
                *f"s_client -connect 127.0.0.1:{node.port} -servername {HOST} -alpn h2 -cert".split(),
                tls / "envoy.pem",
                "-key",
                tls / "envoy.key",
            )
            return openssl("x509", "-noout", "-serial", stdin=shown)

        old = serial()
        authority.certify("quotad", f"DNS:{HOST}")
        until("the new certificate", lambda: serial() != old)
        same(first(started("after"), "c"), 200)

    def envoys_own_certificate_is_replaced_without_a_restart():
        envoy = started("renewed", "expired")
        same(first(envoy, "d"), 503)
        put("envoy", world.folder / "renewed")
        until("the new certificate", lambda: first(envoy, "d") == 200)

    def envoy_needs_the_role_of_a_gateway():
        need("--credentials")
        credentials = world.folder / "credentials.yaml"
        credentials.write_text(
            "- {name: edge, role: gateway, spiffe: 'spiffe://example.com/gateway/*'}\n"
            "- {name: bills, role: billing, san: billing.example.com}\n"
        )
        credentials.chmod(0o600)
        authority.certify("billing", "DNS:billing.example.com")
        node.stop()
        node.arguments += ("--credentials", credentials)
        node.start()
        same(first(started("gateway"), "e"), 200)
        same(first(started("billing", "billing"), "e"), 503)
        same(first(started("unnamed", "unnamed"), "e"), 503)

    every = [
        envoy_and_the_node_know_each_other,
        envoy_without_a_certificate_is_refused,
        envoy_of_another_authority_is_refused,
        envoy_whose_certificate_has_run_out_is_refused,
        envoy_without_tls_is_refused,
        a_node_of_another_authority_is_refused,
        a_node_of_another_name_is_refused,
        a_certificate_is_replaced_without_a_restart,
        envoys_own_certificate_is_replaced_without_a_restart,
        envoy_needs_the_role_of_a_gateway,
    ]
    authority = Authority(tls)
    authority.certify("quotad", f"DNS:{HOST}")
    authority.certify("envoy", "DNS:envoy.example.com,URI:spiffe://example.com/gateway/envoy")
    authority.certify("unnamed", "DNS:unnamed.example.com")
    authority.certify("expired", "DNS:envoy.example.com", days=-1)
    Authority(tls, "other").certify("stranger", "DNS:envoy.example.com")
    started("checked").stop()
    try:
        need("--tls-cert")
    except Skip as why:
        return [skipped(case, why) for case in every]
    node.stop()
    node.arguments = ("--tls-cert", tls / "quotad.pem", "--tls-key", tls / "quotad.key", "--tls-client-ca", tls / "ca.pem")
    node.start()
    return every


def skipped(case, why):
    def skip():
        raise why

    skip.__name__ = case.__name__
    return skip


main("envoy_tls", [SNIPPETS / "rls" / "edge.yaml"], cases)

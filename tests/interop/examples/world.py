"""What the tests of the examples stand on: a quotad, a fake vendor, the program that is tried, and the ledger."""

import http.client
import json
import os
import pathlib
import random
import socket
import subprocess
import time

import upstream

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE_S = 20


def until(what, wanted, patience_s=PATIENCE_S):
    """Waits for wanted() to give something true, and gives that."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found = wanted()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience_s} s")


def lasting_port():
    """One to come back to after a while: below those that the system gives out, it becomes nobody's connection meanwhile."""
    while True:
        port = random.randrange(10000, 30000)
        with socket.socket() as free:
            try:
                free.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


class Quotad:
    """A node of its own, that can go away and come back on the same port."""

    def __init__(self, folder, flags=(), ctl_flags=()):
        self.folder, self.flags, self.ctl_flags = folder, flags, ctl_flags
        self.address = f"127.0.0.1:{lasting_port()}"
        self.process = None
        self.start()

    def start(self):
        ports = self.folder / "ports"
        ports.unlink(missing_ok=True)
        with open(self.folder / "quotad.log", "ab") as log:
            self.process = subprocess.Popen(
                [
                    os.environ["QUOTAD_BIN"],
                    "--policy",
                    HERE / "policy.yaml",
                    "--data-dir",
                    self.folder / "data",
                    "--listen",
                    self.address,
                    "--admin-listen",
                    "127.0.0.1:0",
                    "--port-file",
                    ports,
                    *self.flags,
                ],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"]},
            )  # what is set for the tests is no setting of its
        until("quotad comes up", lambda: ports.exists() and "grpc=" in ports.read_text())
        self.address = "127.0.0.1:" + ports.read_text().split("grpc=")[1].split()[0]

    def stop(self):
        self.process.terminate()
        assert self.process.wait(PATIENCE_S) == 0, "quotad's exit"

    def ctl(self, *arguments):
        done = subprocess.run(
            [os.environ["QUOTACTL_BIN"], *self.ctl_flags, *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "QUOTAD_ADDRESS": self.address},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def entries(self, tenant, count):
        """That many entries of a tenant, once they are there; more are a failure."""

        def read():
            found = [json.loads(line) for line in self.ctl("ledger", "export", tenant).splitlines()]
            return found if len(found) >= count else None

        found = until(f"{count} entries of {tenant}", read)
        assert len(found) == count, f"{len(found)} entries of {tenant}, not {count}: {found}"
        return found


class Program:
    """The proxy that is tried."""

    def __init__(self, command, log, environment=None):
        self.log = log
        with open(log, "wb") as out:
            self.process = subprocess.Popen(
                command, stdout=out, stderr=out, env={**os.environ, **(environment or {})}
            )
        self.port = 0

    def listening(self, mark="listening on "):
        def read():
            assert self.process.poll() is None, "it ended: " + self.log.read_text()[-2000:]
            text = self.log.read_text()
            return (
                text.split(mark)[1].splitlines()[0].rsplit(":", 1)[1]
                if mark in text and "\n" in text.split(mark)[1]
                else ""
            )

        self.port = int(until("it listens", read))
        return self

    def stop(self):
        self.process.terminate()
        code = self.process.wait(PATIENCE_S)
        assert code == 0, f"exit {code}: {self.log.read_text()[-2000:]}"

    def ask(self, path, key, body, timeout=60):
        """A connection whose answer nobody has read. The body is what is dumped as JSON, or already text."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        connection.request(
            "POST",
            path,
            body if isinstance(body, str) else json.dumps(body),
            {"content-type": "application/json", "authorization": "Bearer " + key},
        )
        return connection

    def post(self, *request):
        connection = self.ask(*request)
        return connection, connection.getresponse()

    def chat(self, key, words, stream=True, **more):
        return self.post("/v1/chat/completions", key, chat_body(words, stream, **more))


def chat_body(words, stream=True, **more):
    return {
        "model": "small-model",
        "stream": stream,
        "messages": [{"role": "user", "content": words}],
        **more,
    }


def make_certificates(folder):
    folder.mkdir()
    subprocess.run(
        ["sh", HERE.parents[1] / "lib" / "certs.sh", folder], check=True, capture_output=True, timeout=60
    )


def secure_quotad(folder):
    """One that speaks TLS and asks for certificates, and what a client of it is given: authority, certificate, key."""
    make_certificates(folder)
    ca, cert, key = (str(folder / name) for name in ("ca.pem", "client.pem", "client.key"))
    flags = ("--tls-cert", folder / "node.pem", "--tls-key", folder / "node.key", "--tls-client-ca", ca)
    return Quotad(folder, flags, ("--tls-ca", ca, "--tls-cert", cert, "--tls-key", key)), (ca, cert, key)


class World:
    def __init__(self, folder, quotad=None):
        self.folder = folder
        self.quotad = quotad or Quotad(folder)
        self.vendor = upstream.start()
        self.vendor_url = f"http://127.0.0.1:{self.vendor.server_address[1]}"
        self.programs = []

    def run(self, *arguments, **more):
        program = Program(*arguments, **more)
        self.programs.append(program)
        return program

    def end(self):
        for process in [program.process for program in self.programs] + [self.quotad.process]:
            if process.poll() is None:
                process.kill()
                process.wait()


def run_cases(prefix, cases):
    """Each a function; prints "ok" or "not ok". True: all are ok."""
    bad = 0
    for case in cases:
        try:
            case()
            print(f"ok {prefix}_{case.__name__}", flush=True)
        except Exception as error:  # also of a library: the next case is still worth running
            bad += 1
            text = f"{type(error).__name__}: {error}".replace("\n", "\n    ")
            print(f"not ok {prefix}_{case.__name__}\n    {text}", flush=True)
    return bad == 0

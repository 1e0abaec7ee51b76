"""What the tests with Envoy stand on: a node, a real Envoy, an upstream, and curl."""

import collections
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

import upstream

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SNIPPETS = ROOT / "deploy" / "envoy"
PATIENCE_S = 30

Answer = collections.namedtuple("Answer", "status headers body")


class Skip(Exception):
    """Why a case cannot run."""


def until(what, wanted, patience_s=PATIENCE_S):
    """Waits for wanted() to give something true, and gives that."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        found = wanted()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience_s} s")


def same(found, wanted, about=""):
    assert found == wanted, f"{about}{': ' if about else ''}{found!r}, not {wanted!r}"


def need(*flags):
    """Skips the case if this quotad has not all of them."""
    told = subprocess.run([os.environ["QUOTAD_BIN"], "--help"], capture_output=True, text=True, timeout=30).stdout
    for flag in flags:
        if not re.search(re.escape(flag) + r"(?![\w-])", told):
            raise Skip(f"this quotad has no {flag}")


def room(unit_s, need_s=25):
    """Windows end on multiples of their length: a case that counts in one waits for the next if this one ends soon."""
    left = unit_s - time.time() % unit_s
    if left < need_s:
        time.sleep(left + 0.2)


def end(process):
    if process is not None and process.poll() is None:
        process.kill()
        process.wait()


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


class Node:
    """A quotad of its own with its own folder of rules; it can go away and come back on the same port."""

    def __init__(self, folder, rules, *arguments):
        self.folder, self.arguments = folder, arguments
        self.rules = folder / "rls"
        self.rules.mkdir()
        for path in rules:
            shutil.copy(path, self.rules)
        self.log = folder / "quotad.log"
        self.port, self.admin, self.process = lasting_port(), 0, None

    def start(self, with_rules=True):
        ports = self.folder / "ports"
        ports.unlink(missing_ok=True)
        command = [os.environ["QUOTAD_BIN"], "--port-file", ports, "--data-dir", self.folder / "data"]
        command += ["--listen", f"127.0.0.1:{self.port}", "--admin-listen", "127.0.0.1:0", *self.arguments]
        command += ["--dev"] if "--policy" not in self.arguments else []
        command += ["--rls-config", self.rules] if with_rules and any(self.rules.iterdir()) else []
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env={"PATH": os.environ["PATH"]})

        def up():
            assert self.process.poll() is None, "quotad ended: " + self.log.read_text()[-2000:]
            return ports.exists() and "admin=" in ports.read_text()

        until("quotad comes up", up)
        found = dict(line.split("=") for line in ports.read_text().split())
        self.port, self.admin = int(found["grpc"]), int(found["admin"])
        return self

    def stop(self):
        self.process.terminate()
        same(self.process.wait(PATIENCE_S), 0, "quotad's exit")

    def signal(self, number):
        os.kill(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait()

    def metric(self, name):
        """A counter of this name, or of this name and labels; without labels, the sum of all."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin}/metrics", timeout=10) as answer:
            text = answer.read().decode()
        mine = re.compile(re.escape(name) + r"[ {]")
        return sum(float(line.split()[-1]) for line in text.splitlines() if mine.match(line))

    def ctl(self, *arguments, code=0):
        done = subprocess.run(
            [os.environ["QUOTACTL_BIN"], *arguments],
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, "QUOTAD_ADDRESS": f"127.0.0.1:{self.port}"},
        )
        same(done.returncode, code, f"quotactl {arguments[0]}: {done.stderr}")
        return done.stdout

    def stored(self):
        """Waits until all that is counted now is in the store."""
        begun = self.metric("quotad_snapshot_rounds_total")
        until("two rounds of the snapshot", lambda: self.metric("quotad_snapshot_rounds_total") >= begun + 2)
        time.sleep(0.3)  # a round is synced soon after it is written

    def logged(self, text):
        return self.log.read_text().count(text)

    def rule(self, name, text, line="rate limits reloaded"):
        """Writes a file of rules, and waits for what the node says to it."""
        before = self.logged(line)
        (self.rules / name).write_text(text)
        until(line, lambda: self.logged(line) > before)


class Envoy:
    """A real Envoy with this configuration, on ports that the system chose."""

    def __init__(self, folder, configuration, tag="envoy"):
        self.folder, self.log = folder, folder / f"{tag}.log"
        self.path = folder / f"{tag}.yaml"
        self.path.write_text(configuration)
        address = folder / f"{tag}.admin"
        command = [os.environ["ENVOY_BIN"], "-c", self.path, "--disable-hot-restart", "--concurrency", "2"]
        command += ["-l", "info", "--admin-address-path", address, "--drain-time-s", "1"]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

        def ready():
            assert self.process.poll() is None, "Envoy ended: " + self.log.read_text()[-3000:]
            if not address.exists() or not address.read_text().strip():
                return False
            self.admin = address.read_text().strip()
            try:
                return self.ask("/ready") == "LIVE\n"
            except OSError:
                return False

        until("Envoy is ready", ready)
        listeners = json.loads(self.ask("/listeners?format=json"))["listener_statuses"]
        self.ports = {each["name"]: each["local_address"]["socket_address"]["port_value"] for each in listeners}

    def ask(self, path):
        with urllib.request.urlopen(f"http://{self.admin}{path}", timeout=10) as answer:
            return answer.read().decode()

    def figure(self, name):
        found = re.search(rf"^{re.escape(name)}: (\d+)$", self.ask(f"/stats?filter=^{re.escape(name)}$"), re.M)
        return int(found.group(1)) if found else 0

    def limited(self, what, cluster="upstream"):
        """Of Envoy's own count: ok, over_limit, error, failure_mode_allowed."""
        return self.figure(f"cluster.{cluster}.ratelimit.{what}")

    def url(self, path, listener="http"):
        return f"http://127.0.0.1:{self.ports[listener]}{path}"

    def get(self, path, *headers, listener="http", body=None):
        """One request by curl."""
        command = ["curl", "-sS", "-i", "--max-time", "20", self.url(path, listener)]
        for header in headers:
            command += ["-H", header]
        if body is not None:
            command += ["-H", "content-type: application/json", "-d", body]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        assert done.returncode == 0, f"curl {done.returncode}: {done.stderr}"
        head, _, text = done.stdout.replace("\r\n", "\n").partition("\n\n")
        lines = head.split("\n")
        fields = dict(line.split(": ", 1) for line in lines[1:] if ": " in line)
        return Answer(int(lines[0].split()[1]), {name.lower(): value for name, value in fields.items()}, text)

    def codes(self, count, path, *headers, listener="http", parallel=1):
        """That many requests by curl on one connection, or in parallel: their statuses."""
        command = ["curl", "-sS", "--max-time", "60", "-w", "%{http_code}\\n"]
        if parallel > 1:
            command += ["--parallel", "--parallel-immediate", "--parallel-max", str(parallel)]
        for header in headers:
            command += ["-H", header]
        for _ in range(count):
            command += ["-o", os.devnull, self.url(path, listener)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"curl {done.returncode}: {done.stderr}"
        return [int(code) for code in done.stdout.split()]

    def stop(self):
        self.process.terminate()
        same(self.process.wait(PATIENCE_S), 0, "Envoy's exit")


class World:
    """A folder of its own, a node and an upstream; Envoys as they are asked for."""

    def __init__(self, rules, *arguments):
        self.temporary = tempfile.TemporaryDirectory(prefix="quotad-envoy-")
        self.folder = pathlib.Path(self.temporary.name)
        self.upstream = upstream.start()
        self.node = Node(self.folder, rules, *arguments)
        self.envoys = []

    def placed(self, text):
        """A configuration with this world's addresses in place of those that are written there, and no hurry: the
        machine may be busy with other tests."""
        ports = {"7070": self.node.port, "8000": self.upstream.server_address[1], "10000": 0, "9901": 0}
        for written, port in ports.items():
            text = re.sub(rf"port_value: {written}\b", f"port_value: {port}", text)
        return re.sub(r"timeout: 0\.\ds", "timeout: 10s", text)

    def envoy(self, configuration, tag="envoy"):
        self.envoys.append(Envoy(self.folder, self.placed(configuration), tag))
        return self.envoys[-1]

    def end(self):
        for envoy in self.envoys:
            end(envoy.process)
        end(self.node.process)
        self.upstream.shutdown()
        if "QD_KEEP_TMP" in os.environ:
            print(f"note: kept {self.folder}")
            self.temporary._finalizer.detach()
        else:
            self.temporary.cleanup()


def run_cases(prefix, cases):
    """Each a function; prints a line for each, and gives the exit code."""
    bad = 0
    for case in cases:
        name = f"{prefix}_{case.__name__}"
        try:
            case()
            print(f"ok {name}", flush=True)
        except Skip as why:
            print(f"skip {name}: {why}", flush=True)
        except Exception as error:  # also of a library: the next case is still worth running
            bad += 1
            text = f"{type(error).__name__}: {error}".replace("\n", "\n    ")
            print(f"not ok {name}\n    {text}", flush=True)
    return 1 if bad else 0


def main(prefix, rules, make, arguments=()):
    """A world with a running node; make(world) gives its cases."""
    world = World(rules, *arguments)
    code = 1
    try:
        world.node.start()
        code = run_cases(prefix, make(world))
        if world.node.process.poll() is None:
            world.node.stop()
    except Exception as error:
        print(f"not ok {prefix}_world\n    {type(error).__name__}: {error}", flush=True)
        code = 1
    finally:
        world.end()
    sys.exit(code)

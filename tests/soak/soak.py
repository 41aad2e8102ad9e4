#!/usr/bin/env python3
"""soak.py [--time 1h] [--chaos] [--hostile] [--idle 10000] [--busy 1000]: mixed good and hostile traffic against a server of its own, for as
long as is wished. Each answer is checked; memory, descriptors, threads, processes and files are looked at every few seconds, and
must not grow (a line is fitted to them). With --chaos, processes of each kind are killed meanwhile (-9), case 40 of the hostile
list. What was measured goes to build/soak/*.json. Exit code 1: an answer was wrong, or something grew.

Promise: a server that has run for long is as one that has just started."""
import argparse
import asyncio
import collections
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import resource
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "bench")]
from attacks import ATTACKS, Tenant  # noqa: E402
from program import POLYAGENT, seconds_of  # noqa: E402
from server import Server, children  # noqa: E402

HELLO = ROOT / "docs" / "assets" / "hello-wasi.wat"


class Traffic:
    """One caller: does something at random, and knows what must come of it."""

    def __init__(self, server, seed, counts, wrong, chaos, token=None):
        self.server, self.random, self.counts, self.wrong, self.chaos = server, random.Random(seed), counts, wrong, chaos
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.connection = None

    def ask(self, method, path, body=None):
        if self.connection is None:
            self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
        try:
            self.connection.request(method, path, json.dumps(body) if body is not None else None, self.headers)
            response = self.connection.getresponse()
            return response.status, json.loads(response.read() or b"null")
        except Exception:
            self.connection.close()
            self.connection = None
            raise

    def tool(self, tool, **parameters):
        return self.ask("POST", "/tools/execute", {"tool": tool, "parameters": parameters})[1]

    def expect(self, what, answer, **wanted):
        """With chaos, a run may have been killed: then it must be said."""
        got = {name: answer.get(name) for name in wanted}
        if got == wanted:
            self.counts[what, "right"] += 1
        elif answer.get("status") == "OVERLOADED" or (self.chaos and answer.get("status") in ("INTERNAL", "NOT_FOUND")):
            self.counts[what, "refused"] += 1
        else:
            self.counts[what, "WRONG"] += 1
            self.wrong.append((what, wanted, answer))

    def python(self):
        n = self.random.randrange(10**9)
        self.expect("python", self.tool("python_wasi_runner", code=f"import json\nprint(json.dumps({{'n': {n} * 2}}))"),
                    status="OK", exit_code=0, stdout=f'{{"n": {n * 2}}}\n')

    def javascript(self):
        n = self.random.randrange(10**6)
        self.expect("javascript", self.tool("javascript_wasi_runner", code=f"console.log({n} + 1)"), status="OK", stdout=f"{n + 1}\n")

    def ruby(self):
        n = self.random.randrange(10**6)
        self.expect("ruby", self.tool("ruby_wasi_runner", code=f"puts {n} + 1"), status="OK", stdout=f"{n + 1}\n")

    def module(self):
        done = subprocess.run([POLYAGENT, "run", HELLO], env=self.server.env, capture_output=True, text=True)
        self.expect("module", {"status": "INTERNAL" if done.returncode == 125 else "OK", "stdout": done.stdout}, status="OK", stdout="Hello from WASI!\n")

    def session(self):
        status, opened = self.ask("POST", "/sessions", {})
        if status != 200:
            return self.expect("session", opened, status="OK")
        one, n = opened["session_id"], self.random.randrange(10**6)
        self.expect("session", self.ask("POST", f"/sessions/{one}/run", {"code": f"x = {n}"})[1], status="OK")
        branch = self.ask("POST", f"/sessions/{one}/fork", {"count": 1})[1]
        answer = self.ask("POST", f"/sessions/{one}/run", {"code": "x += 1; open('/workspace/f', 'w').write('x' * 10000); x"})[1]
        self.expect("session", answer, status="OK", result=str(n + 1))
        for fork in branch.get("sessions", []):
            self.expect("branch", self.ask("POST", f"/sessions/{fork['session_id']}/run", {"code": "x"})[1], status="OK", result=str(n))
            self.ask("DELETE", f"/sessions/{fork['session_id']}")
        self.ask("DELETE", f"/sessions/{one}")

    def bomb(self):
        name, code, wanted = self.random.choice([
            ("time", "while True: pass", "TIMEOUT"), ("memory", "x = []\nwhile True: x.append('a' * 10**6)", "MEMORY_LIMIT"),
            ("output", "while True: print('x' * 10000)", "OUTPUT_LIMIT"), ("exit", "import os; os._exit(3)", "OK"),
            ("files", "import os\nfor i in range(300): open(f'/workspace/{i}', 'w').write('x' * 1000)", "OK"),
            ("sleep", "import time\nwhile True: time.sleep(100)", "TIMEOUT")])
        limits = {"execution_timeout_ms": 300} if wanted == "TIMEOUT" else {}
        if name == "files":
            limits = {"files": {"a": "b"}}
        self.expect("bomb " + name, self.tool("python_wasi_runner", code=code, **limits), status=wanted)

    def nonsense(self):
        body = self.random.choice([b"", b"{", b"[" * 10000, b"null", b'{"tool": "nothing"}', b'{"tool": "python_wasi_runner", "parameters": {"code": 1}}'])
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as s:
            s.sendall(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            head = s.recv(100)
        self.counts["nonsense", "right" if head.split()[1:2] and head.split()[1] in (b"400", b"401", b"404") else "WRONG"] += 1

    def vanish(self):
        body = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "import time; time.sleep(20)"}}).encode()
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=20) as s:
            s.sendall(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            time.sleep(0.05)
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.counts["vanish", "right"] += 1

    def reset(self):
        """Streams of gRPC that are opened and dropped."""
        host, port = self.server.grpc.rsplit(":", 1)
        with socket.create_connection((host, int(port)), timeout=20) as s:
            s.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
            for i in range(50):
                s.sendall(bytes([0, 0, 1, 1, 4]) + struct.pack(">I", 2 * i + 1) + b"\x82" + bytes([0, 0, 4, 3, 0]) + struct.pack(">II", 2 * i + 1, 8))
        self.counts["reset", "right"] += 1

    def go_on(self, until):
        deeds = [self.python] * 8 + [self.javascript, self.ruby, self.module, self.session, self.session, self.bomb, self.nonsense, self.vanish, self.reset]
        while time.monotonic() < until and len(self.wrong) < 20:
            deed = self.random.choice(deeds)
            try:
                deed()
            except (OSError, http.client.HTTPException, ValueError) as e:
                if self.chaos:
                    self.counts[deed.__name__, "cut off"] += 1
                else:
                    self.wrong.append((deed.__name__, repr(e)))


async def one_busy(port, seconds, counts):
    until = time.monotonic() + seconds
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    body = json.dumps({"tool": "python_wasi_runner", "parameters": {"code": "print(1)", "execution_timeout_ms": 120000}}).encode()
    while time.monotonic() < until:
        writer.write(b"POST /tools/execute HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        head = await reader.readuntil(b"\r\n\r\n")
        answer = json.loads(await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1])))
        counts[answer["status"] if answer["status"] != "OK" or answer["stdout"] == "1\n" else "WRONG"] += 1
    writer.close()


def many_connections(server, idle, busy, seconds):
    """`idle` connections that say nothing while `busy` clients never stop asking."""
    counts = collections.Counter()
    sockets = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(idle)]
    began = time.monotonic()

    async def all_busy():
        await asyncio.gather(*(one_busy(server.port, seconds, counts) for _ in range(busy)))

    asyncio.run(all_busy())
    for s in sockets:
        s.close()
    took = time.monotonic() - began
    print(f"{idle} idle and {busy} busy connections: {dict(counts)}, {sum(counts.values()) / took:.0f} answers a second", flush=True)
    return counts["WRONG"] == 0 and counts["OK"] > 0


def memory_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.M)[1])


def sample(server, folder):
    """What must not grow. None while a process is being replaced."""
    try:
        pids, zombies = children(server.pid), 0
        for pid in pids:
            zombies += pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        found = {"children": len(pids), "zombies": zombies}
        for name, pid in (("supervisor", server.pid), ("front", server.front)):
            found[name + " KiB"] = memory_kib(pid)
            found[name + " descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
            found[name + " threads"] = len(os.listdir(f"/proc/{pid}/task"))
        found["temporary files"] = len([n for n in os.listdir("/tmp") if n.startswith("polyagent-")])
        found["session folders"] = len(os.listdir(folder / "sessions")) if (folder / "sessions").exists() else 0
        found["cache files"] = len(os.listdir(server.env["POLYAGENT_CACHE_DIR"]))
        return found
    except (OSError, AssertionError, TypeError):
        return None


def attack_at_random(server, until, attacks):
    """One attack after the other, each for some seconds, by three threads of one tenant."""
    tenant, pick = Tenant(server, "bad"), random.Random()
    while time.monotonic() < until:
        attack = pick.choice(ATTACKS)
        try:
            act, end = attack(tenant), min(until, time.monotonic() + pick.uniform(3, 15))
            while time.monotonic() < end:
                act()
                attacks[attack.__name__] += 1
        except (OSError, http.client.HTTPException, ValueError, KeyError):  # refused, or cut off: as it should be
            attacks[attack.__name__ + " refused"] += 1
            time.sleep(0.05)


def end_sessions(server, token):
    tenant = Tenant(server, token)
    for session in json.loads(tenant.ask("GET", "/sessions")[1])["sessions"]:
        tenant.ask("DELETE", f"/sessions/{session['session_id']}")


# How far the fitted line may rise over the whole time: what a pool, a heap or a cache takes once.
ROOM = {"supervisor KiB": 6 << 10, "front KiB": 24 << 10, "supervisor descriptors": 24, "front descriptors": 24, "children": 12,
        "supervisor threads": 0.5, "front threads": 12, "zombies": 4, "temporary files": 12, "session folders": 12, "cache files": 4}


def growth(samples):
    """For each figure: its mean, and how much the line through it rises from the first to the last."""
    settled = samples[len(samples) // 5:]  # the pools are full by then
    times = [s["time"] for s in settled]
    out = {}
    for name in ROOM:
        values = [s[name] for s in settled]
        slope = statistics.linear_regression(times, values).slope if len(settled) > 2 else 0
        out[name] = {"mean": statistics.mean(values), "last": values[-1], "rise": slope * (times[-1] - times[0]) if times else 0}
    return out


def kill_at_random(server, stop, kills):
    """-9 for a worker, a zygote, a compiler or the front, every second or so."""
    pick = random.Random(40)
    while not stop.wait(pick.uniform(0.2, 2)):
        victims = children(server.pid)
        if not victims:
            continue
        victim = pick.choice(victims)
        try:
            name = pathlib.Path(f"/proc/{victim}/comm").read_text().strip()
            if name == "polyagent-net" and pick.random() < 0.7:
                continue
            os.kill(victim, 9)
            kills[name] += 1
        except OSError:
            pass


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--time", default="1m", type=seconds_of)
    parser.add_argument("--chaos", action="store_true")
    parser.add_argument("--hostile", action="store_true")
    parser.add_argument("--callers", type=int, default=6)
    parser.add_argument("--idle", type=int, default=10000)
    parser.add_argument("--busy", type=int, default=1000)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    counts, wrong, kills, samples, stop = collections.Counter(), [], collections.Counter(), [], threading.Event()
    attacks = collections.Counter()
    with tempfile.TemporaryDirectory(prefix="soak-") as temp:
        folder = pathlib.Path(temp)
        cache = os.environ.get("POLYAGENT_CACHE_DIR") or str(pathlib.Path.home() / ".cache/polyagent")
        if options.time >= 300:  # its own, as that of the user may be used by others meanwhile
            cache = str(folder / "cache")
        more = ()
        if options.hostile:
            (folder / "tokens").write_text("".join(f"{name}:{hashlib.sha256(name.encode()).hexdigest()}\n" for name in ("good", "bad")))
            (folder / "config.yaml").write_text(f"server: {{auth: {{tokens_file: '{folder}/tokens'}}}}\n")
            more, options.idle, options.busy = ("--config", str(folder / "config.yaml")), 0, 0
        server = Server(folder, *more, http=True, grpc=True, env={"POLYAGENT_CACHE_DIR": cache, "POLYAGENT_LOG_LEVEL": "error"})
        held = True
        if options.idle or options.busy:
            held = many_connections(server, min(options.idle, hard // 2 - 1000), options.busy, min(30, options.time / 4))
        began = time.monotonic()
        until = began + options.time
        token = "good" if options.hostile else None
        callers = [threading.Thread(target=Traffic(server, i, counts, wrong, options.chaos, token).go_on, args=(until,)) for i in range(options.callers)]
        if options.hostile:
            callers += [threading.Thread(target=attack_at_random, args=(server, until, attacks)) for _ in range(3)]
        if options.chaos:
            callers.append(threading.Thread(target=lambda: kill_at_random(server, stop, kills)))
        for caller in callers:
            caller.start()
        pause = max(1, min(10, options.time / 60))
        while (now := time.monotonic()) < until:
            if (found := sample(server, folder)) is not None:
                samples.append({"time": now - began, **found})
            time.sleep(pause)
        stop.set()
        for caller in callers:
            caller.join(120)
        time.sleep(3)
        alive = server.process.poll() is None
        if alive and options.hostile:
            end_sessions(server, "bad")
        if alive:
            server.stop()
        left = [n for n in os.listdir(folder / "sessions")] if (folder / "sessions").exists() else []
    rises = growth(samples)
    grown = {name: r for name, r in rises.items() if r["rise"] > ROOM[name]} if not options.chaos and options.time >= 60 else {}
    print(f"{sum(counts.values())} calls in {options.time:.0f} s; kills: {dict(kills)}")
    for attack, n in sorted(attacks.items()):
        print(f"  attack {attack:24} {n}")
    for (what, how), n in sorted(counts.items()):
        print(f"  {what:16} {how:8} {n}")
    for name, r in rises.items():
        print(f"  {name:24} mean {r['mean']:10.1f}   last {r['last']:8}   rise {r['rise']:+9.2f}{'   GREW' if name in grown else ''}")
    for case in wrong[:5]:
        print("wrong:", case)
    out = ROOT / "build" / "soak"
    out.mkdir(parents=True, exist_ok=True)
    (out / ("chaos.json" if options.chaos else "soak.json")).write_text(json.dumps(
        {"seconds": options.time, "counts": {f"{a} {b}": n for (a, b), n in counts.items()}, "growth": rises, "kills": kills, "samples": samples}, indent=1))
    good = held and alive and not wrong and not grown and (options.chaos or not left)
    print("as it was" if good else f"NOT as it was: alive {alive}, wrong {len(wrong)}, grown {list(grown)}, sessions left {len(left)}")
    sys.exit(0 if good else 1)


main()

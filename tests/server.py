"""Servers for the end-to-end tests: started as a user would, ended without a trace."""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import time

from program import POLYAGENT, run


def children(pid):
    return [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def zombies(pid):
    """How many children of a process have ended and are not reaped."""
    count = 0
    for child in children(pid):
        try:
            count += pathlib.Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            pass  # reaped meanwhile
    return count


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def becomes(probe, wanted, seconds=20):
    """What a probe says, once it is as wanted or the time is over."""
    until = time.monotonic() + seconds
    while (now := probe()) != wanted and time.monotonic() < until:
        time.sleep(0.1)
    return now


def falls_to(most, probe, seconds=30):
    """A figure falls to what it was before: what a test left behind goes, however busy the machine is."""
    until = time.monotonic() + seconds
    while (now := probe()) > most and time.monotonic() < until:
        time.sleep(0.1)
    assert now <= most


def resident_kib(pid):
    """Memory that a process has; None: it is gone."""
    try:
        found = re.search(r"^VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return int(found[1]) if found else None


def peak_kib(pid):
    """The most memory that a process has had so far."""
    return int(re.search(r"^VmHWM:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text(), re.M)[1])


def settled(probe, seconds=10):
    """What a figure is when it no longer changes."""
    last, until = probe(), time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.3)
        now = probe()
        if now == last:
            return now
        last = now
    return last


class Server:
    """`polyagent serve`; with http or grpc, `port` and `grpc` are where it listens, and `front` is the process that
    does; `under` is a program that it is started by, such as strace."""

    def __init__(self, folder, *options, http=False, grpc=False, env=None, limit_files=None, under=(), seconds=120):
        self.socket = folder / "s.sock"
        self.env = {**os.environ, "POLYAGENT_SOCKET": str(self.socket), "POLYAGENT_SESSIONS_DIR": str(folder / "sessions"),
                    "POLYAGENT_INTERPRETERS_COMPILE_AHEAD": "false", **(env or {})}
        self.log = folder / "server.log"
        listen = ["--http", "127.0.0.1:0" if http else "off", "--grpc", "127.0.0.1:0" if grpc else "off"]
        with open(self.log, "w") as log:
            limit = ["prlimit", f"--nofile={limit_files}:{limit_files}", "--"] if limit_files else []
            self.process = subprocess.Popen([*under, *limit, POLYAGENT, "serve", *listen, *options], env=self.env, stderr=log)
        found, until = {}, time.monotonic() + seconds
        while "listening" not in found:
            assert self.process.poll() is None and time.monotonic() < until, self.log.read_text()
            found = dict(re.findall(r"^polyagent: (http|grpc|listening) at (\S+)$", self.log.read_text(), re.M))
            time.sleep(0.02)
        self.base = found.get("http")
        self.port = int(found["http"].rsplit(":", 1)[1]) if "http" in found else None
        self.grpc = found.get("grpc")

    @property
    def front(self):
        for pid in children(self.pid):
            try:
                if b"front" in pathlib.Path(f"/proc/{pid}/cmdline").read_bytes():
                    return pid
            except (FileNotFoundError, ProcessLookupError):
                pass  # a worker that has ended meanwhile
        raise AssertionError("there is none")

    def events(self):
        """What it has logged."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    @property
    def pid(self):
        return self.process.pid

    def ask(self, method, path, body=None, token=None, timeout=120):
        """Status and answer of a request over HTTP; JSON as such, anything else as bytes."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return response.status, json.loads(answer) if is_json else answer

    def run(self, *args, **more):
        return run(*args, env=self.env, **more)

    def python(self, code, *options, **more):
        return self.run("python", *options, "-c", code, **more)

    def stats(self, code, *options):
        done = self.python(code, "--stats=json", *options)
        return json.loads(done.err.splitlines()[-1])

    def stop(self, code=0):
        pids = children(self.pid) if self.process.poll() is None else []
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(60) == code, self.log.read_text()
        assert not [p for p in pids if os.path.exists(f"/proc/{p}")]
        assert not self.socket.exists()

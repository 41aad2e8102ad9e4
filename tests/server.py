"""Servers for the end-to-end tests: started as a user would, ended without a trace."""
import json
import os
import pathlib
import signal
import subprocess
import time

from program import POLYAGENT, run


def children(pid):
    return [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def descriptors(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


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
    def __init__(self, folder, *options):
        self.socket = folder / "s.sock"
        self.env = {**os.environ, "POLYAGENT_SOCKET": str(self.socket)}
        self.process = subprocess.Popen([POLYAGENT, "serve", *options], env=self.env, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert "listening at" in line, line

    @property
    def pid(self):
        return self.process.pid

    def run(self, *args, **more):
        return run(*args, env=self.env, **more)

    def python(self, code, *options, **more):
        return self.run("python", *options, "-c", code, **more)

    def stats(self, code, *options):
        done = self.python(code, "--stats=json", *options)
        return json.loads(done.err.splitlines()[-1])

    def stop(self):
        pids = children(self.pid) if self.process.poll() is None else []
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.process.stderr.read()
        assert not [p for p in pids if os.path.exists(f"/proc/{p}")]
        assert not self.socket.exists()


class Http:
    """`polyagent http` in front of a Server."""

    def __init__(self, server, *options):
        self.process = subprocess.Popen([POLYAGENT, "http", "--listen", "127.0.0.1:0", *options], env=server.env,
                                        stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        assert "listening at http://127.0.0.1:" in line, line
        self.port = int(line.rsplit(":", 1)[1])

    @property
    def pid(self):
        return self.process.pid

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(40) == 0, self.process.stderr.read()
        self.process.stderr.close()

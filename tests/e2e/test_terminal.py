"""Promise: a program's output reaches a terminal as text and colours; sequences that move, name, clear or ask the terminal are shown
instead of obeyed, unless --raw says otherwise. What is no terminal gets every byte as it is."""
import json
import os
import pty
import select
import time

import pytest
from program import POLYAGENT, run
from server import Server

TITLE = r"print('\x1b]0;pwned\x07\x1b[2J')"


class Screen:
    """A terminal with `polyagent ARGS` in it."""

    def __init__(self, *args, stderr=None, env=None):
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            if stderr is not None:
                os.dup2(os.open(stderr, os.O_WRONLY | os.O_CREAT, 0o600), 2)
            os.execve(POLYAGENT, ["polyagent", *map(str, args)], {**os.environ, **(env or {})})
        self.text = b""

    def read_until(self, wanted, seconds=60):
        """`wanted` None: to the end."""
        until = time.monotonic() + seconds
        while wanted is None or wanted not in self.text:
            assert time.monotonic() < until, self.text
            if not select.select([self.fd], [], [], 0.2)[0]:
                continue
            try:
                more = os.read(self.fd, 65536)
            except OSError:
                more = b""
            if not more:
                assert wanted is None, self.text
                break
            self.text += more
        return self.text

    def end(self):
        text = self.read_until(None)
        code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        os.close(self.fd)
        return text, code


def shown(*args, **more):
    return Screen(*args, **more).end()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("terminal"), http=True)
    yield server
    server.stop()


@pytest.mark.parametrize("place", ("local", "server"))
def test_sequences_are_shown_and_colours_stay(server, place):
    more = {"args": ["--local"]} if place == "local" else {"args": [], "env": server.env}
    args = more.pop("args")
    assert shown("python", *args, "-c", TITLE, **more) == (b"\\x1b]0;pwned\\a\\x1b[2J\r\n", 0)
    assert shown("python", *args, "--raw", "-c", TITLE, **more) == (b"\x1b]0;pwned\x07\x1b[2J\r\n", 0)
    assert shown("python", *args, "-c", "import sys; sys.stderr.write('\\x1b[1;31mré\\x1b[0md\\r\\x1b[6n')", **more) == (b"\x1b[1;31mr\xc3\xa9\x1b[0md\r\\x1b[6n", 0)
    assert shown("js", *args, "-c", "console.log('\\x1bc')", **more)[0].endswith(b"\\x1bc\r\n")
    assert shown("ruby", *args, "-c", "print \"\\e]52;c;Zm9v\\a\"", **more)[0].endswith(b"\\x1b]52;c;Zm9v\\a")  # a bar may come first, while it is compiled


def test_a_colour_does_not_outlive_its_program():
    assert shown("python", "--local", "-c", "print('\\x1b[31mred', end='')") == (b"\x1b[31mred\x1b[0m", 0)


def test_both_streams_stay_in_order_and_what_is_said_of_the_run_comes_last():
    code = "import sys\nfor i in range(300): print(i, file=sys.stdout if i % 2 else sys.stderr, flush=True)\nwhile True: pass"
    text, status = shown("python", "--local", "--timeout", "5s", "-c", code)
    lines = text.decode().split("\r\n")
    assert status == 124 and lines[:300] == [str(i) for i in range(300)] and lines[300].startswith("polyagent: Execution timeout")


def test_much_output_is_whole():
    text, status = shown("python", "--local", "-c", "for i in range(12000): print(f'{i:070}')")
    assert status == 0 and text.decode().split() == [f"{i:070}" for i in range(12000)]


def test_the_program_finds_a_terminal_and_can_ask():
    screen = Screen("python", "--local", "-c", "import sys; print(sys.stdin.isatty(), sys.stdout.isatty(), sys.stderr.isatty()); print(input('who? ') + '!')")
    screen.read_until(b"who? ")  # before its answer, though no line has ended
    os.write(screen.fd, "Änne\n".encode())
    text, status = screen.end()
    assert status == 0 and text.startswith(b"True True True\r\n") and text.endswith("Änne!\r\n".encode())


def test_what_is_no_terminal_gets_the_bytes(tmp_path):
    assert run("python", "--local", "-c", TITLE).stdout == b"\x1b]0;pwned\x07\x1b[2J\n"
    text, status = shown("python", "--local", "-c", TITLE + "; import sys; print('\\x1bc', file=sys.stderr)", stderr=tmp_path / "err")
    assert (text, status) == (b"\\x1b]0;pwned\\a\\x1b[2J\r\n", 0) and (tmp_path / "err").read_bytes() == b"\x1bc\n"


def test_json_on_a_terminal_is_still_json(server):
    parameters = json.dumps({"code": "print('\\x9b2J\\u202e\\x1b[2Jé')"})
    for args in (("tool", "--local", "python_wasi_runner", parameters), ("tool", "--server", server.base, "python_wasi_runner", parameters)):
        text, status = shown(*args)
        assert status == 0 and json.loads(text)["stdout"] == "\x9b2J\u202e\x1b[2Jé\n"
        assert not any(byte < 32 and byte not in b"\r\n" for byte in text) and "\x9b" not in text.decode() and "é" in text.decode()


def test_a_tasks_result_on_a_terminal(server):
    text, status = shown("submit", "--server", server.base, "Use python_wasi_runner to execute: " + TITLE)
    assert (text, status) == (b"\\x1b]0;pwned\\a\\x1b[2J\r\n", 0)


def test_names_in_a_module_are_shown(tmp_path):
    (tmp_path / "m.wat").write_text('(module (func (export "\\1b[2J\\0aexport function main")))')
    (tmp_path / "registry").mkdir()
    env = {**os.environ, "POLYAGENT_MODULES_REGISTRY": str(tmp_path / "registry")}
    assert run("module", "push", "m@1", tmp_path / "m.wat", env=env).returncode == 0
    done = run("module", "inspect", "m@1", env=env)
    assert "\x1b" not in done.out and "\\x1b[2J\\nexport function main\n" in done.out, done

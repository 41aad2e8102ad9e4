"""Promise: `polyagent repl` is a session to talk to: editing, completion, input(), Ctrl-C that ends what runs and keeps the rest."""
import glob
import os
import pty
import re
import select
import signal
import time

import pytest
from program import POLYAGENT, run


class Terminal:
    def __init__(self, state, *options, env=None):
        self.text = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", POLYAGENT_REPL_HISTORY=str(state / "history"), POLYAGENT_SOCKET=str(state / "none"), TMPDIR=str(state), **(env or {}))
            os.execv(POLYAGENT, ["polyagent", "repl", "--local", *options])

    def expect(self, pattern, seconds=60):
        """Reads on until the pattern comes, and forgets what was before its end."""
        until = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text)):
            assert time.monotonic() < until, f"no {pattern!r} in {self.text!r}"
            if select.select([self.fd], [], [], 0.2)[0]:
                self.text += re.sub("\x1b\\[\\?2004[hl]", "", os.read(self.fd, 4096).decode(errors="replace"))
        self.text = self.text[found.end():]
        return found

    def send(self, text):
        os.write(self.fd, text.encode())

    def ask(self, text, pattern):
        self.send(text + "\r")
        found = self.expect(pattern)
        self.expect(r">>> |> ")
        return found

    def end(self):
        until = time.monotonic() + 20
        while os.waitpid(self.pid, os.WNOHANG)[0] == 0:
            if time.monotonic() > until:
                os.kill(self.pid, signal.SIGKILL)
            # The line is dropped first: what comes between two lines, faster than any hand, may be in it.
            self.send("\x03")
            time.sleep(0.1)
            self.send("\x04")
            if select.select([self.fd], [], [], 0.3)[0]:
                try:
                    os.read(self.fd, 4096)
                except OSError:
                    pass
        os.close(self.fd)
        assert time.monotonic() < until


@pytest.fixture
def python(tmp_path):
    terminal = Terminal(tmp_path)
    terminal.expect(r"Python in a sandbox.*\n>>> ")
    yield terminal
    terminal.end()


def test_a_conversation(python):
    python.ask("x = 41", r"x = 41\r\n")
    python.ask("x + 1", r"\n42\r\n")
    python.ask("1/0", r"ZeroDivisionError: division by zero\r\n")
    python.send("def f(a):\r")
    python.expect(r"\.\.\. ")
    python.send("    return a + x\r")
    python.expect(r"\.\.\. ")
    python.send("\r")
    python.expect(">>> ")
    python.ask("f(1)", r"\n42\r\n")
    python.ask("import os; os.getcwd()", r"'/workspace'")


def test_a_program_reads_what_is_typed(python):
    python.send("name = input('who? ')\r")
    python.expect(r"who\? ")
    python.send("Ada\r")
    python.expect(">>> ")
    python.ask("name", r"\n'Ada'\r\n")


@pytest.mark.parametrize("locale", ({}, {"LC_ALL": "C.UTF-8"}, {"LC_ALL": "C"}))
def test_every_character_is_kept(tmp_path, locale):
    terminal = Terminal(tmp_path, env={"LC_ALL": "", "LANG": "", "LC_CTYPE": "", **locale})
    terminal.expect(r"\n>>> ")
    terminal.ask("s = 'ü 日本 🎉 é'; print(s, len(s))", r"\nü 日本 🎉 é 8\r\n")
    terminal.ask("'ÄÖ'", r"\n'ÄÖ'\r\n")
    terminal.end()


def test_typed_ahead_lines_are_all_run(python):
    python.send("a=1\rb=2\rc=3\rprint(a,b,c)\r")
    python.expect(r"\n1 2 3\r\n>>> ")
    python.send("import time; time.sleep(1)\r")
    time.sleep(0.3)
    python.send("d = 4\nprint('d', d)\nprint('é', d)\n")  # while it runs
    python.expect(r"\nd 4\r\n")
    python.expect(r"\né 4\r\n>>> ")
    python.send("for i in range(2):\r  print(i)\r\rprint('x' * 3)\r")
    python.expect(r"\n0\r\n1\r\n")
    python.expect(r"\nxxx\r\n>>> ")


def test_a_program_gets_the_typed_lines_that_it_asks_for_and_no_others(python):
    python.send("name = input('who? ')\rAda\rage = input()\r36\rprint(name, age)\r")
    python.expect(r"\nAda 36\r\n>>> ")
    python.send("import time; time.sleep(1); x = [input(), input()]\r")
    time.sleep(0.3)
    python.send("one\ntwo\nprint(x)\n")
    python.expect(r"\n\['one', 'two'\]\r\n>>> ")


def test_a_half_line_typed_ahead_waits_for_its_end(python):
    python.send("import time; time.sleep(1)\r")
    time.sleep(0.3)
    python.send("print('wh")
    python.expect(">>> ")
    python.send("ole')\r")
    python.expect(r"\nwhole\r\n>>> ")


BLOCK = "class A:\n    x = 1\n\n    def f(self):\n        return self.x\n\n\n    def g(self):\n\treturn 2\n\nprint(A().f(), A().g())\n".replace("\n\treturn", "\n        return")


@pytest.mark.parametrize("before, after", (("", ""), ("\x1b[200~", "\x1b[201~")))
def test_a_pasted_block_may_have_empty_lines(python, before, after):
    python.send(before + BLOCK.replace("\n", "\r") + after)
    python.expect(r"\n1 2\r\n>>> ")


def test_tabs_in_a_paste_are_tabs(python):
    python.send("\x1b[200~def f():\r\treturn 'a\tb'\r\rf()\r\x1b[201~")
    python.expect(r"\n'a\\tb'\r\n>>> ")


def test_ctrl_c_drops_what_was_typed_ahead_and_says_so(python):
    python.send("print('on'); \rwhile True: pass\r")
    python.expect(r"\non\r\n")
    time.sleep(0.5)
    python.send("y = 1\ny = 2\n")
    time.sleep(0.5)
    python.send("\x03")
    python.expect(r"typed ahead and dropped: 2 lines\r\n>>> ")
    python.ask("'y' in globals()", r"\nFalse\r\n")


def test_sequences_of_a_program_are_shown(tmp_path):
    for options, wanted in (((), r"\n\\x1b\]0;t\\a\x1b\[31mred\r\n\x1b\[0m"), (("--raw",), "\n\x1b\\]0;t\x07\x1b\\[31mred\r\n")):
        terminal = Terminal(tmp_path, *options)
        terminal.expect(r"\n>>> ")
        terminal.ask("print('\\x1b]0;t\\x07\\x1b[31mred')", wanted)
        terminal.end()


def test_ctrl_c(python):
    python.ask("x = 1", "x = 1")
    python.send("x = 2\r")
    python.expect(">>> ")
    python.send("while True: x = 3\r")
    time.sleep(1)
    python.send("\x03")
    python.expect("interrupted: variables are as before")
    python.expect(">>> ")
    python.ask("x", r"\n2\r\n")
    python.send("half a line\x03")  # at the prompt, it drops the line
    python.expect(">>> ")
    python.ask("x + 5", r"\n7\r\n")


@pytest.mark.parametrize("number", (signal.SIGTERM, signal.SIGHUP))
@pytest.mark.parametrize("busy", (False, True))
def test_a_signal_ends_it_and_nothing_is_left_behind(tmp_path, number, busy):
    places = lambda: {*glob.glob("/tmp/polyagent-??????"), *tmp_path.iterdir()}
    before = places()
    terminal = Terminal(tmp_path)
    terminal.expect(">>> ")
    terminal.ask("x = 41", r"\n")
    assert places() != before
    terminal.send("print('on')\rwhile True: pass\r\r" if busy else "x + ")
    terminal.expect("on\r" if busy else r"x \+ ")
    time.sleep(0.5 if busy else 0)
    os.kill(terminal.pid, number)
    until = time.monotonic() + 20
    while os.waitpid(terminal.pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > until:
            terminal.end()
            raise AssertionError("it goes on")
        time.sleep(0.1)
    os.close(terminal.fd)
    assert places() - {tmp_path / "history"} == before


def test_names_are_completed(python):
    python.ask("wonderful = 7", "=")
    python.send("wonder\t\r")
    python.expect(r"\n7\r\n>>> ")
    python.ask("import math", "math")
    python.send("math.sq\t(16)\r")
    python.expect(r"\n4\.0\r\n>>> ")


def test_commands(python, tmp_path):
    os.chdir(tmp_path)
    python.ask("x = 1; open('a.txt', 'w').write('hello')", r"\n5\r\n")
    python.ask(":checkpoint", r":rollback c1")
    python.ask("x = 2", "x")
    python.ask(":rollback c1", r"as it was after turn 1")
    python.ask("x", r"\n1\r\n")
    first = python.ask(":sessions", r"\* ([0-9a-f]{24})  2 turns, c1")[1]
    second = python.ask(":branch", r"in session ([0-9a-f]{24})")[1]
    python.ask("x = 9", "x")
    python.ask(f":switch {first}", f"in session {first}")
    python.ask("x", r"\n1\r\n")
    python.ask(":sessions", rf"  {second}  3 turns, of {first}")
    python.ask(":files", r"5  a\.txt")
    (tmp_path / "up.bin").write_bytes(b"\0\xff")
    python.ask(f":put {tmp_path}/up.bin in/b", r">?")
    python.ask("open('in/b', 'rb').read()", r"b'\\x00\\xff'")
    python.ask(f":get in/b {tmp_path}/down.bin", r"2 bytes")
    assert (tmp_path / "down.bin").read_bytes() == b"\0\xff"
    python.ask(":get nothing", "there is no file nothing")
    python.ask(":nonsense", "no such command")
    python.ask(":help", ":rollback ID")


def test_history_is_kept(tmp_path):
    for turn in range(2):
        terminal = Terminal(tmp_path)
        terminal.expect(">>> ")
        if turn == 0:
            terminal.ask("12345 + 1", r"\n12346\r\n")
        else:
            terminal.send("\x1b[A\r")  # up
            terminal.expect(r"\n12346\r\n>>> ")
        terminal.end()


def test_javascript(tmp_path):
    terminal = Terminal(tmp_path, "--language", "javascript")
    terminal.expect(r"JavaScript in a sandbox.*\n> ")
    terminal.ask("let x = 41", "x")
    terminal.ask("x + 1", r"\n42\r\n")
    terminal.send("function f(a) {\r")
    terminal.expect("  ")
    terminal.send("return a + x }\r")
    terminal.expect("> ")
    terminal.ask("f(1)", r"\n42\r\n")
    terminal.end()


def test_from_a_pipe(tmp_path):
    env = {**os.environ, "POLYAGENT_SOCKET": str(tmp_path / "none")}
    done = run("repl", stdin="x = 2\ndef f(a):\n    return a * x\n\nf(21)\nimport sys; print('e', file=sys.stderr)\n1 +\n", env=env, timeout=120)
    assert (done.out, done.returncode) == ("42\n", 1) and "SyntaxError" in done.err and done.err.startswith("e\n")


def test_from_a_pipe_with_empty_lines_in_a_block(tmp_path):
    env = {**os.environ, "POLYAGENT_SOCKET": str(tmp_path / "none")}
    done = run("repl", stdin=BLOCK + "é = 'ü'\nprint(é)", env=env, timeout=120)
    assert (done.out, done.returncode) == ("1 2\nü\n", 0), done


def test_bad_options():
    for args, text in [(["--language", "cobol"], "there is no cobol"), (["--packages", "nothing"], "no interpreter has nothing"),
                       (["--timeout", "x"], "must be seconds"), (["--nope"], "unknown option"), (["x"], "not expected")]:
        done = run("repl", "--local", *args, timeout=120)
        assert done.returncode == 125 and text in done.err, done.err

"""Promise: a program behaves in `polyagent python` as it would in python3: its own stdin and argv,
tracebacks, exit status, output; and the sandbox holds."""
import json
import os

import pytest
from program import ROOT


def test_prints(run):
    done = run("python", "-c", "print(2 + 2)")
    assert (done.out, done.err, done.returncode) == ("4\n", "", 0)


def test_stdin_and_argv_are_the_programs(run, tmp_path):
    code = "import sys; print(sys.argv, input(), sys.stdin.read())"
    done = run("python", "-c", code, "--", "a", "-x", stdin="first\nrest")
    assert done.out == "['-c', 'a', '-x'] first rest\n"
    script = tmp_path / "script.py"
    script.write_text("import sys; print(sys.argv[1:], __name__, __file__ if '__file__' in dir() else '')")
    assert run("python", script, "--", "b").out.startswith("['b'] __main__")
    assert run("python", "-", stdin="print('from stdin')").out == "from stdin\n"


@pytest.mark.parametrize("code, status, text", [
    ("import sys; sys.exit(7)", 7, ""),
    ("import sys; sys.exit()", 0, ""),
    ("import sys; sys.exit('bad')", 1, "bad\n"),
    ("raise SystemExit(3)", 3, ""),
    ("exit(4)", 4, ""),
    ("quit()", 0, ""),
])
def test_exit_status(run, code, status, text):
    done = run("python", "-c", code)
    assert (done.returncode, done.err) == (status, text)


def test_traceback_names_code_line_and_source(run):
    done = run("python", "-c", "def f(x):\n    return 1 / x\n\nf(0)\n")
    assert done.returncode == 1
    assert done.err.splitlines() == [
        "Traceback (most recent call last):",
        '  File "<code>", line 4, in <module>',
        "    f(0)",
        '  File "<code>", line 2, in f',
        "    return 1 / x",
        "           ~~^~~",
        "ZeroDivisionError: division by zero",
    ]
    done = run("python", "-c", "x = (\n")
    assert '  File "<code>", line 1\n    x = (' in done.err and "SyntaxError" in done.err
    code = "import traceback\ntry:\n    1/0\nexcept Exception:\n    traceback.print_exc()"
    assert "    1/0\n" in run("python", "-c", code).err


def test_excepthook_and_atexit_run(run):
    code = ("import sys, atexit\natexit.register(print, 'bye')\n"
            "sys.excepthook = lambda t, e, tb: print('hook', t.__name__)\nraise KeyError")
    done = run("python", "-c", code)
    assert (done.out, done.returncode) == ("hook KeyError\nbye\n", 1)


def test_text_is_utf8_everywhere(run, tmp_path):
    assert run("python", "-c", "print('grüße 😀', input())", stdin="ÿ").out == "grüße 😀 ÿ\n"
    script = tmp_path / "s.py"
    script.write_text("print('é')", encoding="utf-8")
    assert run("python", script).out == "é\n"
    assert run("python", "-c", "import sys; sys.stdout.buffer.write(b'\\xff\\0')").stdout == b"\xff\0"


def test_main_is_clean_and_real(run):
    code = ("import sys\nif __name__ == '__main__': print(sorted(n for n in globals() "
            "if not n.startswith('__')))\nclass A: pass\nimport pickle\n"
            "print(pickle.loads(pickle.dumps(A())).__class__ is A)")
    assert run("python", "-c", code).out == "['sys']\nTrue\n"


def test_a_huge_program_works(run):
    body = "\n".join(f"x{i} = {i}" for i in range(20000))
    assert run("python", "-", stdin=body + "\nprint(x19999)").out == "19999\n"


def test_lines_are_out_before_the_deadline_kills(run):
    done = run("python", "--timeout", "1s", "-c", "print('before')\nwhile True: pass")
    assert (done.out, done.returncode) == ("before\n", 124)


def test_sleep_and_input_end_at_the_deadline(run):
    assert run("python", "--timeout", "300ms", "-c", "import time; time.sleep(60)").returncode == 124


def test_memory_limit_is_not_the_programs_own_memoryerror(run):
    stats = run("python", "--stats=json", "-c", "a = [bytearray(10**7) for _ in range(100)]")
    assert json.loads(stats.err.splitlines()[-1])["status"] == "MEMORY_LIMIT"
    stats = run("python", "--stats=json", "-c", "raise MemoryError('mine')")
    assert json.loads(stats.err.splitlines()[-1])["status"] == "OK"
    caught = ("try: a = [bytearray(10**7) for _ in range(100)]\n"
              "except MemoryError: a = None; print('caught')")
    assert run("python", "-c", caught).out == "caught\n"


def test_random_numbers_differ_and_deterministic_ones_do_not(run):
    code = "import random, time, os; print(random.random(), hash('a'), os.urandom(4).hex(), time.time())"
    assert run("python", "-c", code).out != run("python", "-c", code).out
    first = run("python", "--deterministic=5", "-c", code)
    assert first.returncode == 0
    assert first.out == run("python", "--deterministic=5", "-c", code).out
    assert first.out != run("python", "--deterministic=6", "-c", code).out


PIECES = {"python": "import sys\nprint('one', end='')\nsys.stdout.write(' two')\nprint(' three', 'four', end='')\n",
          "js": "std.out.puts('one'); std.puts(' two'); std.printf(' %s', 'three'); std.out.printf(' four');", "ruby": "print 'one', ' two'; $stdout.write ' three four';"}
ENDS = {"python": "while True: pass", "js": "for(;;);", "ruby": "loop {}"}


@pytest.mark.parametrize("language", PIECES)
def test_what_was_written_before_a_stop_is_there(run, language):
    done = run(language, "--timeout", "8s", "-c", PIECES[language] + ENDS[language])
    assert (done.returncode, done.out) == (124, "one two three four")


@pytest.mark.parametrize("end, code", [("--cpu-time=1s", "while True: pass"), ("--memory=100M", "a = [0] * 10**9"),
                                       ("--timeout=20s", "def f(a): return [f([a])]\nimport sys\nsys.setrecursionlimit(10**9)\nf(1)")])
def test_what_was_written_before_a_stop_is_there_whatever_the_stop(run, end, code):
    done = run("python", end, "-c", PIECES["python"] + code)
    assert done.returncode != 0 and done.out == "one two three four", done


def test_what_was_written_before_a_stop_is_there_to_the_byte(run):
    """The last piece, too, which the worker was just putting together when it was killed."""
    for _ in range(5):  # it may have none at that moment
        done = run("python", "--stats=json", "--output-limit", "0", "--timeout", "2s", "-c", "while True: print('x', end='')")
        counted = json.loads(done.err.splitlines()[-1])["usage"]["stdout_bytes"]
        assert done.returncode == 124 and 0 <= len(done.out) - counted <= 1


def test_large_writes_come_whole(run):
    done = run("python", "--output-limit", "100M", "-c", "print('x' * (20 << 20), end='')")
    assert (done.returncode, len(done.out)) == (0, 20 << 20)


@pytest.mark.parametrize("language, code", [("python", "import random, numpy as np\nprint(random.random() < 1, np.arange(3).sum())"),
                                            ("python", "import random\nprint(random.random() < 1, 3)"),
                                            ("js", "console.log(Math.random() < 1 ? 'True' : 'False', 3)"), ("ruby", "puts 'True 3' if rand < 1")])
def test_interpreters_start_without_random_numbers(run, language, code):
    done = run(language, "--no-random", *(["--packages", "numpy"] if "numpy" in code else []), "-c", code)
    assert (done.out, done.err) == ("True 3\n", "")


def test_denied_random_numbers_are_an_error(run):
    done = run("python", "--no-random", "-c", "import os\ntry: os.urandom(4)\nexcept OSError: print('denied')")
    assert (done.out, done.err) == ("denied\n", "")


def test_files_follow_the_users_umask(run, tmp_path):
    code = "import os\nopen('/w/f', 'w').close()\nos.mkdir('/w/d')"
    for mask, file, folder in ((0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o002, 0o664, 0o775)):
        former = os.umask(mask)
        try:
            place = tmp_path / oct(mask)
            place.mkdir()
            assert run("python", "--dir", f"{place}::/w:rw", "-c", code).err == ""
        finally:
            os.umask(former)
        assert ((place / "f").stat().st_mode & 0o777, (place / "d").stat().st_mode & 0o777) == (file, folder)


def test_denied_clock_is_an_error_not_a_crash(run):
    done = run("python", "--no-clock", "-c", "import time; time.time()")
    assert done.returncode == 1 and "Error" in done.err


def test_the_host_is_out_of_reach(run):
    code = ("import os\nfor f in (lambda: open('/etc/passwd'), lambda: os.listdir('/root'), "
            "lambda: os.system('id'), lambda: __import__('socket').create_connection(('127.0.0.1', 1)), "
            "lambda: __import__('subprocess').run(['id'])):\n"
            "    try: print('REACHED', f())\n    except Exception as e: print('refused')")
    assert run("python", "-c", code).out == "refused\n" * 5
    assert run("python", "-c", "import os; print(dict(os.environ))").out == "{}\n"


def test_real_program(run):
    done = run("python", ROOT / "examples" / "primes.py", "--", "20")
    assert done.out == "[2, 3, 5, 7, 11, 13, 17, 19]\n"


def test_standard_library(run):
    code = """
import dataclasses, datetime, decimal, fractions, json, re, statistics, csv, io, math, hashlib
assert json.loads(json.dumps({'a': [1, 2.5, None]})) == {'a': [1, 2.5, None]}
assert re.sub(r'(\\w+)@(\\w+)', r'\\2 at \\1', 'me@host') == 'host at me'
assert decimal.Decimal('0.1') + decimal.Decimal('0.2') == decimal.Decimal('0.3')
assert math.factorial(10) == 3628800
@dataclasses.dataclass
class P:
    x: int = 3
assert P().x == 3
assert list(csv.reader(io.StringIO('a,b\\n1,2'))) == [['a', 'b'], ['1', '2']]
assert hashlib.sha256(b'').hexdigest().startswith('e3b0c442')
print('ok')
"""
    done = run("python", "-c", code)
    assert (done.out, done.err) == ("ok\n", "")


def test_a_large_directory_is_listed(run, tmp_path):
    for i in range(3000):
        (tmp_path / f"file-{i}").touch()
    code = "import os; names = os.listdir('/d'); print(len(names), names == sorted(names))"
    assert run("python", "--dir", f"{tmp_path}::/d", "-c", code).out == "3000 True\n"


def test_files_in_a_writable_directory(run, tmp_path):
    code = """
import os, shutil, tempfile, pathlib
p = pathlib.Path('/scratch')
(p / 'a' / 'b').mkdir(parents=True)
(p / 'a' / 'b' / 'f.txt').write_text('x' * 1000)
os.rename(p / 'a' / 'b' / 'f.txt', p / 'g.txt')
os.symlink('g.txt', p / 'l')
assert os.readlink(p / 'l') == 'g.txt' and (p / 'l').read_text() == 'x' * 1000
assert sorted(os.listdir(p)) == ['a', 'g.txt', 'l']
shutil.rmtree(p / 'a')
with open(p / 'g.txt', 'r+b') as f:
    f.seek(10); f.truncate(); f.write(b'end')
print(os.stat(p / 'g.txt').st_size)
"""
    done = run("python", "--dir", f"{tmp_path}::/scratch:rw", "-c", code)
    assert (done.out, done.err) == ("13\n", "")
    assert (tmp_path / "g.txt").read_bytes() == b"x" * 10 + b"end"


def test_workspace_quota(run, tmp_path, monkeypatch):
    monkeypatch.setenv("POLYAGENT_WASI_WORKSPACE_BYTES", "100000")
    code = "f = open('/scratch/big', 'wb')\nwhile True: f.write(b'x' * 10000)"
    done = run("python", "--dir", f"{tmp_path}::/scratch:rw", "-c", code)
    assert done.returncode == 1 and "OSError" in done.err
    assert (tmp_path / "big").stat().st_size <= 100000

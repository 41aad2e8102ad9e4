"""Promise: what a session's files take is known, whatever comes together: files that are put while a turn runs, many at once, copies
that are made behind them. A count never falls below what is on the disk, and never below nothing."""
import contextlib
import json
import pathlib
import threading

import pytest
from server import Server, becomes
from test_sessions import Api, Session

BLOCK, MIB = 4096, 1 << 20
WAIT = "import os\nwhile not os.path.exists('{}'): pass\n"


@pytest.fixture
def start(tmp_path):
    """A server with small quotas; who asks it."""
    with contextlib.ExitStack() as servers:
        def start(text):
            config = tmp_path / "config.yaml"
            config.write_text(text)
            server = Server(tmp_path, "--config", str(config), http=True)
            servers.callback(server.stop)
            return Api(server)
        yield start


def folder(api, session):
    (found,) = pathlib.Path(api.server.env["POLYAGENT_SESSIONS_DIR"]).glob(f"*/files/{session.id}")
    return found


def on_disk(api, session):
    """In blocks, as quotas are reckoned."""
    return sum(BLOCK if path.is_dir() else -(-path.lstat().st_size // BLOCK) * BLOCK for path in folder(api, session).rglob("*"))


def counted(session):
    return session.api("GET", f"/sessions/{session.id}")["workspace_bytes"]


def at_once(calls):
    """Their answers."""
    answers = [None] * len(calls)

    def ask(i):
        answers[i] = calls[i]()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return answers


@contextlib.contextmanager
def lane_taken(api, busy):
    """What comes now waits behind a copy of many names; it is made as long as this lasts, or a little longer."""
    call = threading.Thread(target=lambda: busy("fork", count=4))
    call.start()
    assert becomes(lambda: busy.state() == "busy", True)
    yield
    call.join(60)


def crowded(api):
    """A session whose copy takes a while."""
    session = api.open()
    assert session.run("for i in range(1000): open(f'n{i}', 'w').close()")["exit_code"] == 0
    return session


def test_a_put_and_a_turn_that_remove_the_same_file(start):
    api = start("wasi: {workspace_bytes: 67108864}\n")
    session = api.open()
    for i in range(3):
        assert session.run("with open('A', 'wb') as f: f.write(bytes(20 << 20))")["exit_code"] == 0
        wait = session.later(WAIT.format(f"new{i}") + "os.unlink('A')", execution_timeout_ms=20000)
        session("files", files={"A": "a", **{f"new{i}/{j}": "x" for j in range(900)}})
        assert wait()["status"] == "OK"
        assert becomes(lambda: counted(session) - on_disk(api, session), 0) == 0
    assert counted(session) >= 3 * 900 * BLOCK


def test_a_file_that_is_replaced_while_a_turn_holds_it_is_counted(start):
    """By a put that begins in the turn, and by one that began before it."""
    api = start("wasi: {workspace_bytes: 67108864}\n")
    session = api.open(files={"A": "x" * MIB})
    path = f"/sessions/{session.id}/files/"
    wait = session.later(WAIT.format("B") + "os.unlink('A')\nopen('C', 'wb').write(bytes(20000))", execution_timeout_ms=20000)
    assert api.raw("PUT", path + "A", b"y" * (2 * MIB))[0] == 200
    assert api.raw("PUT", path + "B", b"y")[0] == 200
    assert wait()["exit_code"] == 0
    assert becomes(lambda: counted(session), 6 * BLOCK) == 6 * BLOCK == on_disk(api, session)


@pytest.mark.parametrize("size", [60000, 3 * MIB])
def test_many_puts_at_once_stay_within_the_quota(start, size):
    quota = 4 * MIB
    api = start(f"wasi: {{workspace_bytes: {quota}}}\n")
    session = api.open()
    count = 100 if size < MIB else 8
    with lane_taken(api, crowded(api)):
        answers = at_once([lambda i=i: api.raw("PUT", f"/sessions/{session.id}/files/f{i}", b"z" * size) for i in range(count)])
    took = [status for status, _ in answers].count(200)
    assert took == quota // (-(-size // BLOCK) * BLOCK) and all(b"quota" in body for status, body in answers if status != 200)
    assert on_disk(api, session) == counted(session) <= quota


def test_many_puts_at_once_stay_within_the_share(start):
    share = 8 * MIB
    api = start(f"sessions: {{max_bytes: {share}}}\n")
    sessions = [api.open() for _ in range(4)]
    with lane_taken(api, crowded(api)):
        answers = at_once([lambda i=i: api.raw("PUT", f"/sessions/{sessions[i % 4].id}/files/f{i}", b"z" * MIB) for i in range(24)])
    assert 0 < [status for status, _ in answers].count(200) <= share // MIB
    assert sum(on_disk(api, session) for session in sessions) <= share
    assert [counted(session) for session in sessions] == [on_disk(api, session) for session in sessions]


@pytest.mark.parametrize("action", ["checkpoint", "fork"])
def test_a_copy_behind_a_put_counts_as_it_was_made(start, action):
    api = start("wasi: {workspace_bytes: 67108864}\n")
    session = api.open(files={"a": "x"})
    with lane_taken(api, crowded(api)):
        puts = [threading.Thread(target=api.raw, args=("PUT", f"/sessions/{session.id}/files/b{i}", b"z" * 100000)) for i in range(10)]
        for put in puts:
            put.start()
        for _ in range(10):  # answers of the loop, which has taken some of them by then
            counted(session)
        made = session(action)
        for put in puts:
            put.join(60)
    if action == "checkpoint":
        session("rollback", checkpoint_id=made["checkpoint_id"])
        assert counted(session) == on_disk(api, session)
    else:
        branch = Session(api, made["sessions"][0]["session_id"])
        assert counted(branch) == on_disk(api, branch)
    assert counted(session) == on_disk(api, session)


@pytest.mark.parametrize("method", ["GET", "PUT"])
def test_files_of_a_session_that_ends_while_they_wait(start, method):
    api = start("")
    session = api.open(files={"a": "x"})
    answers = []
    ask = lambda: answers.append(api.raw(method, f"/sessions/{session.id}/files/a", b"y" if method == "PUT" else None))
    with lane_taken(api, crowded(api)):
        calls = [threading.Thread(target=ask) for _ in range(20)]
        for call in calls:
            call.start()
        session.close()
        for call in calls:
            call.join(60)
    for status, body in answers:
        assert status == 404 and json.loads(body)["error"]["code"] == "NOT_FOUND" and b"/files/" not in body, body
    assert len(answers) == 20

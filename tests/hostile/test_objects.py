"""Promise: what is neither a file nor a directory is not opened, and never waited for. Case 27 of the hostile list."""
import os
import socket
import stat
import time

import host
import pytest

pytestmark = pytest.mark.usefixtures("standing")
TRY = """
import os
for name in ('fifo', 'socket', 'null', 'zero'):
    for mode in ('rb', 'wb', 'ab', 'r+b', 'xb'):
        try: print('OPENED', name, mode, open('%s/' + name, mode).read(3))
        except OSError as e: pass
    for act in (os.truncate, os.listdir):
        try: print('DID', name, act('%s/' + name, 0) if act is os.truncate else act('%s/' + name))
        except OSError: pass
print('done')
"""


def place(folder):
    os.mkfifo(folder / "fifo")
    inside = os.open(folder, os.O_PATH)
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(f"/proc/self/fd/{inside}/socket")  # whatever the folder's length
    os.close(inside)
    for name, minor in (("null", 3), ("zero", 5)):
        try:
            os.mknod(folder / name, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        except PermissionError:
            pass  # as an ordinary user


def test_27_fifo_hang(server, world):
    place(world.rw)
    began = time.monotonic()
    done = server.python(TRY.replace("%s", "/w"), "--timeout", "20s", *world.options())
    assert done.out == "done\n", done.out + done.err
    assert time.monotonic() - began < 20  # it did not wait for the deadline
    world.check(done.out)


def test_27_fifo_hang_in_a_session(server):
    session = host.execute(server, "session_open")["session_id"]
    host.python(server, "1", session_id=session)
    workspace = server.log.parent / "sessions" / session / "files" / session
    place(workspace)
    assert host.python(server, TRY.replace("%s", "/workspace"), session_id=session)["stdout"] == "done\n"
    for name in ("fifo", "socket", "null"):
        status, answer = server.ask("GET", f"/sessions/{session}/files/{name}")
        assert status in (400, 403, 404), (status, answer)
    assert server.ask("GET", f"/sessions/{session}/files")[0] == 200
    assert server.ask("DELETE", f"/sessions/{session}")[0] == 200

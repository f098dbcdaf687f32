"""Who is answered, with what, where; and that it goes on when the program does not."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.debug.sick import PREFETCH, sick
from tether import background, debug
from tether.debug import _http, _sockets
from tether.debug._sockets import processes

TOKEN = "a token of more than 16 characters"
posix = pytest.mark.skipif(os.name != "posix", reason="of POSIX")


def ask(
    page: debug.Server, path: str = "/", **headers: str
) -> tuple[int, http.client.HTTPMessage, bytes]:
    assert page.port is not None
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a protobuf message; an own reader, to check the own writer."""
    at = 0

    def varint() -> int:
        nonlocal at
        number = shift = 0
        while True:
            byte = data[at]
            at += 1
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            yield tag >> 3, varint()
        else:
            assert tag & 7 == 2
            size = varint()
            yield tag >> 3, data[at : at + size]
            at += size


def test_the_page_says_what_it_is_and_needs_no_network(page: debug.Server) -> None:
    class Page(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.ids: set[str] = set()
            self.away: list[str] = []

        def handle_starttag(
            self, tag: str, attrs: list[tuple[str, str | None]]
        ) -> None:
            for key, value in attrs:
                if key == "id" and value:
                    self.ids.add(value)
                if key in {"src", "href"}:
                    self.away.append(value or "")

    status, headers, body = ask(page)
    parsed = Page()
    parsed.feed(body.decode())
    assert status == 200
    assert headers["Content-Type"].startswith("text/html")
    assert {"task-groups", "resources", "overdue", "thread-groups"} <= parsed.ids
    assert parsed.away == []
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "Access-Control-Allow-Origin" not in headers


def test_text_and_json_tell_the_same(page: debug.Server) -> None:
    async def main() -> tuple[bytes, bytes, bytes]:
        async with sick(30):
            return (
                (await asyncio.to_thread(ask, page, "/debug/tether.json"))[2],
                (await asyncio.to_thread(ask, page, "/debug/tether.txt"))[2],
                (await asyncio.to_thread(ask, page, "/?debug=1"))[2],
            )

    as_json, as_text, as_go = asyncio.run(main())
    [group] = [one for one in json.loads(as_json)["tasks"] if one["count"] == 28]
    assert group["root"] == PREFETCH
    assert f"28 @ {PREFETCH}".encode() in as_text
    assert f"28 @ {PREFETCH}".encode() in as_go
    assert b"Pool.slots: 28 wait, 0 free\n    held by 2" in as_text


def test_the_profile_has_counts_functions_and_labels(page: debug.Server) -> None:
    async def main() -> bytes:
        async with sick(30):
            return (await asyncio.to_thread(ask, page, "/debug/pprof/goroutine"))[2]

    every = list(fields(gzip.decompress(asyncio.run(main()))))
    strings = [
        value.decode()
        for number, value in every
        if number == 6 and isinstance(value, bytes)
    ]
    assert strings[0] == ""
    assert {"tasks", "count", "handler", "load", "root", PREFETCH} <= set(strings)
    counts = []
    for number, value in every:
        if number == 2 and isinstance(value, bytes):
            sample = dict(fields(value))
            packed = sample[2]
            assert isinstance(packed, bytes)
            counts.append(packed[0])
    assert {28, 2} <= set(counts)


@pytest.mark.timeout(600)  # Go compiles its reader when it is used first
def test_go_reads_the_profile(page: debug.Server, tmp_path: Path) -> None:
    go = which("go", path=sysconfig.get_path("scripts")) or which("go")
    if go is None:
        pytest.skip("no go here: it comes with the test group, for one Python alone")

    async def main() -> bytes:
        async with sick(30):
            return (await asyncio.to_thread(ask, page, "/debug/pprof/goroutine"))[2]

    file = tmp_path / "tasks.pb.gz"
    file.write_bytes(asyncio.run(main()))

    def pprof(option: str) -> str:
        said = subprocess.run(
            [go, "tool", "pprof", option, str(file)],
            cwd=tmp_path,
            env=os.environ | {"GOTOOLCHAIN": "local", "GOPROXY": "off"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert said.returncode == 0, said.stderr
        return said.stdout

    top = pprof("-top")
    assert top.startswith("Type: tasks\n")
    rows = {line.split()[-1]: line.split()[0::3] for line in top.splitlines()[4:]}
    assert rows["Semaphore.acquire"][:2] == ["28", "28"]  # they are in it
    assert rows["handler"][:2] == ["0", "30"]  # and come from here
    tags = pprof("-tags")
    # Of all tasks of this process: other tests may have left some.
    assert re.search(rf"\b30 \(.+%\): {PREFETCH}", tags)
    assert re.search(r"\b28 \(.+%\): asyncio.Semaphore Pool.slots", tags)


def test_a_foreign_name_for_this_machine_is_refused(page: debug.Server) -> None:
    assert ask(page, Host="evil.example:6060")[0] == 403
    assert ask(page, Host="localhost:6060")[0] == 200
    assert ask(page, Host="[::1]:6060")[0] == 200


def test_an_open_place_without_a_token_is_refused() -> None:
    with pytest.raises(ValueError, match=r"token= of 16 characters"):
        debug.serve(port=0, host="0.0.0.0")
    with pytest.raises(ValueError, match="16 characters"):
        debug.serve(port=0, token="short")


def test_the_token_is_asked_for() -> None:
    with debug.serve(port=0, host="0.0.0.0", token=TOKEN) as page:
        assert ask(page)[0] == 401
        assert ask(page, Authorization="Bearer wrong")[0] == 401
        assert ask(page, Authorization=f"Bearer {TOKEN}", Host="a.b")[0] == 200
        assert ask(page, f"/?token={TOKEN.replace(' ', '%20')}")[0] == 200


def test_a_taken_port_is_told_with_the_cure() -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port}.*another port="):
            debug.serve(port=port)
    with debug.serve(port=0):
        pass  # nothing was left open by the failure


def test_a_second_page_is_refused_until_the_first_is_closed(page: debug.Server) -> None:
    with pytest.raises(RuntimeError, match="already"):
        debug.serve(port=0)
    page.close()
    page.close()
    with debug.serve(port=0) as again:
        assert ask(again)[0] == 200


def test_the_socket_is_for_this_user_alone(page: debug.Server) -> None:
    assert page.path is not None
    assert stat.S_IMODE(page.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(page.path.parent.stat().st_mode) == 0o700
    assert processes() == {os.getpid(): page.path}
    page.close()
    assert not page.path.exists()


def test_the_sockets_of_processes_that_are_gone_are_removed(page: debug.Server) -> None:
    assert page.path is not None
    stale = page.path.with_name("999999.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(stale))
    assert list(processes()) == [os.getpid()]
    assert not stale.exists()


def test_what_is_not_there_is_told_with_what_is(page: debug.Server) -> None:
    status, _, body = ask(page, "/debug/nothing")
    assert status == 404
    assert b"/debug/tether.json" in body
    assert ask(page, "/debug/tether.txt?seconds=nan")[0] == 400
    assert ask(page, "/debug/tether.txt?seconds=61")[0] == 400


def test_a_look_that_fails_is_told(
    page: debug.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> debug.Look:
        raise ZeroDivisionError("in the look")

    monkeypatch.setattr(page._watch, "_look", fail)
    status, headers, body = ask(page, "/debug/tether.json")
    assert status == 500
    assert headers["Content-Type"].startswith("text/plain")
    assert b"ZeroDivisionError: in the look" in body


def test_what_is_no_url_is_told(page: debug.Server) -> None:
    assert page.port is not None
    with socket.create_connection(("127.0.0.1", page.port), timeout=60) as client:
        client.sendall(b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.0 400"


def test_a_port_that_is_none_is_refused() -> None:
    for port in (-1, 65536):
        with pytest.raises(ValueError, match=f"0 to 65535.*{port}"):
            debug.serve(port=port)


def test_a_port_that_is_no_number_is_refused() -> None:
    for port in ("6060", True, 6060.0):
        with pytest.raises(TypeError, match=f"whole number.*{port}"):
            debug.serve(port=port)  # type: ignore[arg-type]


def test_a_host_that_is_not_this_machine_is_told_with_its_cure() -> None:
    with pytest.raises(OSError, match=r"nosuch\.invalid.*give host="):
        debug.serve(port=0, host="nosuch.invalid", token=TOKEN)


def test_without_a_folder_for_its_socket_the_port_will_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(_sockets, "folders", lambda uid: [file / "tether"])
    with pytest.warns(RuntimeWarning, match="port alone.*path="):
        page = debug.serve(port=0)
    with page:
        assert page.path is None
        assert ask(page)[0] == 200
    with pytest.raises(OSError, match="file"):
        debug.serve(port=None)


def test_a_folder_that_is_of_no_use_is_passed_over(runtime: Path) -> None:
    env = os.environ | {"XDG_RUNTIME_DIR": "/dev/null", "TMPDIR": str(runtime)}
    script = "from tether import debug; print(debug.serve(port=None).path)"
    said = subprocess.run(
        [sys.executable, "-c", script],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.stdout.startswith(str(runtime)), said.stderr


@pytest.mark.parametrize("name", ["goroutine", "tasks", "threads"])
def test_what_somebody_who_knows_go_types_is_text(
    page: debug.Server, name: str
) -> None:
    for debug_ in ("1", "2"):
        _, headers, body = ask(page, f"/debug/pprof/{name}?debug={debug_}")
        assert headers["Content-Type"].startswith("text/plain")
        assert b"\nTASKS\n" in body
    assert ask(page, f"/debug/pprof/{name}?debug=0")[2].startswith(b"\x1f\x8b")
    assert ask(page, "/debug/pprof/")[1]["Content-Type"].startswith("text/html")


def test_the_threads_of_the_page_are_not_on_it(page: debug.Server) -> None:
    with socket.create_connection(("127.0.0.1", page.port or 0)):  # one more of them
        found = json.loads(ask(page, "/debug/tether.json")[2])
    every = json.dumps(found["threads"])
    assert "serve_forever" not in every
    assert "process_request_thread" not in every


@posix
def test_after_the_page_is_closed_its_signal_does_nothing(runtime: Path) -> None:
    said = told_by("""
import os, signal, threading
from tether import _live, debug
def left():
    return [one for one in threading.enumerate() if "signal" in one.name]
for _ in range(2):
    with debug.serve(port=0, signal=True):
        thread, = left()
    thread.join(60)
    os.kill(os.getpid(), signal.SIGUSR2)
    print(left(), _live.made)
debug.on_signal()
with debug.serve(port=0, signal=True):
    pass
print(len(left()), _live.made is not None)
""")
    assert said == "[] None\n[] None\n1 True\n"


@posix
def test_a_process_that_can_start_no_more_threads_is_answered(runtime: Path) -> None:
    said = told_by("""
import os, resource, socket, threading
from tether import debug
page = debug.serve(port=0)
client = socket.create_connection(("127.0.0.1", page.port))
client.sendall(b"GET / HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
client.recv(65536)
if os.getuid() == 0:
    os.setuid(54321)  # root has no such limit
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    threading.Thread(target=print).start()
except RuntimeError:
    pass
client = socket.create_connection(("127.0.0.1", page.port))
client.settimeout(60)
client.sendall(b"GET / HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
print(client.recv(15), flush=True)
os._exit(0)
""")
    assert said.strip() == "b'HTTP/1.0 200 OK'"


def test_a_path_that_is_taken_stays_and_is_told(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")
    with pytest.raises(OSError, match=f"{file}.*another path="):
        debug.serve(port=None, path=file)
    assert file.read_text() == "precious"


def test_names_of_the_program_do_nothing_to_a_terminal(page: debug.Server) -> None:
    with background().with_cancel(label="\x1b[2Jgone\n9 @ forged"):
        body = ask(page, "/debug/tether.txt")[2]
    assert b"\x1b" not in body
    assert rb"1 \x1b[2Jgone\n9 @ forged, made at" in body


def test_seconds_gives_the_growth_in_one_request(page: debug.Server) -> None:
    body = ask(page, "/debug/tether.json?seconds=0.3")[2]
    assert json.loads(body)["growth"] is not None


STUCK = """
import asyncio, sys, time
from tether import background, debug

def blocking():
    time.sleep(600)  # the line

async def handler():
    with background().with_timeout(5.0, label="GET /stuck"):
        blocking()

async def main():
    page = debug.serve(port=0, signal=True)
    print(page.port, flush=True)
    await asyncio.create_task(handler(), name="culprit")

asyncio.run(main())
"""


@pytest.fixture
def stuck(runtime: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process whose event loop is blocked, and the port of its page."""
    with subprocess.Popen(
        [sys.executable, "-c", STUCK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            assert child.stdout is not None
            yield child, int(child.stdout.readline())
        finally:
            child.kill()


def tell(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/debug/tether.json")
    body: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return body


def test_a_stuck_loop_is_told_with_its_task_and_line(
    stuck: tuple[subprocess.Popen[str], int],
) -> None:
    while True:  # until it has come to its sleep
        [loop] = tell(stuck[1])["loops"]
        if loop["stuck"] and "blocking" in loop["at"]:
            break
    assert loop["task"] == "culprit"
    assert loop["thread"] == "MainThread"
    assert ":6 in blocking" in loop["at"]


def test_sigusr2_writes_the_same_while_the_main_thread_is_stuck(
    stuck: tuple[subprocess.Popen[str], int],
) -> None:
    child, _ = stuck
    child.send_signal(signal.SIGUSR2)
    assert child.stderr is not None
    lines: list[str] = []
    while "CONTEXTS\n" not in lines:
        line = child.stderr.readline()
        assert line, lines
        lines.append(line)
    said = "".join(lines)
    assert f"pid {child.pid}" in said
    assert "TASKS\n" in said
    assert child.poll() is None


def told_by(script: str) -> str:
    """What a program prints and writes to stderr; it must end well."""
    done = subprocess.run(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@posix
def test_a_process_without_descriptors_is_answered(runtime: Path) -> None:
    said = told_by("""
import resource, socket
from tether import debug
page = debug.serve(port=0)
client = socket.socket()
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
taken = []
try:
    while True:
        taken.append(open("/dev/null"))
except OSError as error:
    print(error.strerror)
client.connect(("127.0.0.1", page.port))
client.sendall(b"GET / HTTP/1.0\\r\\nHost: localhost\\r\\n\\r\\n")
client.settimeout(60)
print(client.recv(15))
for one in taken:
    one.close()
""")
    assert said == "Too many open files\nb'HTTP/1.0 200 OK'\n"


@posix
def test_a_forked_child_does_not_keep_the_port(runtime: Path) -> None:
    said = told_by("""
import os
from tether import debug
page = debug.serve(port=0)
read, write = os.pipe()
pid = os.fork()
if pid == 0:
    os.close(write)
    os.read(read, 1)  # until the parent has ended
    os._exit(0)
port = page.port
page.close()
with debug.serve(port=port) as again:
    print(again.port == port)
""")
    assert said.endswith("True\n")  # before it, Python 3.12 warns of the fork


@posix
def test_a_signal_to_a_forked_child_is_not_answered_by_its_parent(
    runtime: Path,
) -> None:
    said = told_by("""
import os, signal
from tether import debug
debug.on_signal()
pid = os.fork()
if pid:
    os.waitpid(pid, 0)
    print("parent", os.getpid(), flush=True)
    os._exit(0)
os.kill(os.getpid(), signal.SIGUSR2)
debug.on_signal()  # for one's own
print("child", os.getpid(), flush=True)
while True:
    read, write = os.pipe()
    kept = os.dup(2)
    os.dup2(write, 2)
    os.kill(os.getpid(), signal.SIGUSR2)
    text = os.read(read, 65536)
    os.dup2(kept, 2)
    print(text.decode().splitlines()[0], flush=True)
    break
os._exit(0)
""")
    [child] = re.findall(r"child (\d+)", said)
    [parent] = re.findall(r"parent (\d+)", said)
    assert f"pid {child} " in said
    assert f"pid {parent} " not in said


@posix
def test_after_a_look_that_failed_the_next_signal_is_answered(runtime: Path) -> None:
    said = told_by("""
import os, signal, sys
from tether import debug
from tether.debug import _signal
debug.on_signal()
good = _signal.text
def bad(look):
    _signal.text = good
    raise ZeroDivisionError("in the look")
_signal.text = bad
read, write = os.pipe()
os.dup2(write, 2)
for _ in range(2):
    os.kill(os.getpid(), signal.SIGUSR2)
    print(os.read(read, 65536).decode(), flush=True)
""")
    assert "ZeroDivisionError: in the look" in said
    assert "CONTEXTS" in said


def test_clients_that_leave_at_once_keep_one_descriptor_between_them(
    page: debug.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = page._servers[0]
    assert isinstance(server, _http.HTTP)
    server._give_one()
    made: list[socket.socket] = []

    class Slow(socket.socket):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)
            time.sleep(0.05)  # the others come meanwhile

    monkeypatch.setattr(socket, "socket", Slow)
    threads = [threading.Thread(target=server._keep_one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [server._spare]

"""tether.ext.subprocess in threads, with real processes."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ext.processes import PATIENCE, TREE, Watch, python
from tests.ext.serving import until
from tether import Canceled, Context, DeadlineExceeded, background
from tether.ext.subprocess import Ended, run
from tether.ext.subprocess._process import Process

LARGE = b"0123456789abcdef" * 200_000  # far more than a pipe holds


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    watch = Watch(tmp_path)
    yield watch
    watch.kill()


@pytest.fixture(params=["pidfd", "waitid", "poll"])
def told_by(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a system has to tell that a process has ended."""
    if request.param != "pidfd":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    if request.param == "poll":
        monkeypatch.delattr(os, "waitid")
        monkeypatch.setattr("tether.ext.subprocess._group.PROC", "/nowhere")


def descriptors() -> int:
    """How many are open in this process, without those of earlier tests' garbage."""
    gc.collect()
    return len([*Path("/proc/self/fd").iterdir()])


# -- results -------------------------------------------------------------------------

SAME: list[tuple[Any, dict[str, Any]]] = [
    (python("print('out')"), {"capture_output": True}),
    (python("print('out')"), {"capture_output": True, "text": True}),
    (python("import sys; sys.exit('err')"), {"capture_output": True, "text": True}),
    (
        python("print(input().upper())"),
        {"stdout": subprocess.PIPE, "input": b"a\r\nb\r\n"},
    ),
    (
        python("import sys; print(sys.stdin.buffer.read())"),
        {
            "capture_output": True,
            "text": True,
            "input": "ä\r\nö\n",
            "encoding": "utf-8",
        },
    ),
    (
        python("import sys; sys.stdout.buffer.write(b'a\\r\\nb\\xff\\rc')"),
        {"capture_output": True, "encoding": "utf-8", "errors": "replace"},
    ),
    (
        python("import sys; print('out'); print('err', file=sys.stderr)"),
        {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT},
    ),
    (python("print('out')"), {"stdout": subprocess.DEVNULL}),
    (python("import os; print(os.getcwd())"), {"capture_output": True, "cwd": "/"}),
    ("echo $X; exit 3", {"capture_output": True, "shell": True, "env": {"X": "y"}}),
    (python("import sys; print(sys.stdin.read())"), {"stdin": subprocess.DEVNULL}),
    (
        python("import sys; print(repr(sys.stdin.read()))"),
        {"stdin": subprocess.PIPE, "capture_output": True},
    ),
    (["sleep", "0"], {}),
]


@pytest.mark.usefixtures("told_by")
@pytest.mark.parametrize(("cmd", "options"), SAME)
def test_a_result_is_that_of_subprocess(cmd: Any, options: dict[str, Any]) -> None:
    theirs = subprocess.run(cmd, check=False, **options)
    with background().with_timeout(PATIENCE) as ctx:
        ours = run(ctx, cmd, **options)
    assert vars(ours) == vars(theirs)


def test_a_failure_is_an_error_if_asked() -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run(
            background(),
            python("print('out'); exit(3)"),
            check=True,
            capture_output=True,
            text=True,
        )
    assert not isinstance(caught.value, Ended)
    assert (caught.value.returncode, caught.value.stdout) == (3, "out\n")


def test_a_missing_program_is_said_so() -> None:
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        run(background(), ["no-such-program-anywhere"], capture_output=True)
    assert descriptors() <= before  # those of an earlier test may go meanwhile


def test_more_than_a_pipe_holds_goes_through() -> None:
    done = run(background(), ["cat"], input=LARGE, capture_output=True)
    assert done.stdout == LARGE


def test_a_process_need_not_read_its_input() -> None:
    assert run(background(), ["true"], input=LARGE).returncode == 0


def test_nothing_stays_open() -> None:
    with background().with_timeout(PATIENCE) as ctx:
        run(ctx, ["true"], capture_output=True)  # the descriptor of ctx is made
        before = descriptors()
        for _ in range(5):
            run(ctx, ["cat"], input=b"x", capture_output=True)
        with pytest.raises(DeadlineExceeded):
            run(ctx.with_timeout(0.01), ["sleep", "600"], capture_output=True)
        assert descriptors() <= before + 1  # of that timeout


# -- ends ----------------------------------------------------------------------------


@pytest.mark.usefixtures("told_by")
def test_a_tree_is_gone_when_a_cancel_returns(watch: Watch) -> None:
    grown: list[bool] = []
    why = KeyError("why")
    with background().with_cancel() as ctx:

        def cancel() -> None:
            grown.append(watch.see(5))
            ctx.cancel(why)

        watch.then(cancel)
        with pytest.raises(Canceled) as caught:
            run(ctx, ["sh", "-c", TREE], env=watch.env, grace=PATIENCE)
    assert watch.alive() == []
    assert grown == [True]
    ended = caught.value.__cause__
    assert isinstance(ended, Ended)
    assert ended.returncode == -signal.SIGTERM
    assert ended.__cause__ is why
    assert caught.value.ctx is ctx
    assert "was ended with its context: by SIGTERM" in caught.value.detail


def test_a_tree_is_gone_when_the_time_is_over(watch: Watch) -> None:
    with pytest.raises(DeadlineExceeded):
        with background().with_timeout(0.2) as ctx:
            run(ctx, ["sh", "-c", TREE], env=watch.env, capture_output=True)
    assert watch.alive() == []


DEAF = "trap '' TERM; sleep 600 & sleep 600 & echo out; echo > \"$READY\"; wait; wait"


@pytest.mark.usefixtures("told_by")
@pytest.mark.parametrize("grace", [0, 0.05])
def test_a_tree_that_ignores_sigterm_is_killed(watch: Watch, grace: float) -> None:
    with background().with_cancel() as ctx:
        watch.then(ctx.cancel)
        with pytest.raises(Canceled) as caught:
            run(
                ctx,
                ["sh", "-c", DEAF],
                env=watch.env,
                grace=grace,
                capture_output=True,
                text=True,
            )
    assert watch.alive() == []
    ended = Ended.of(caught.value)
    assert ended is not None
    assert ended.returncode == -signal.SIGKILL
    assert (ended.stdout, ended.stderr) == ("out\n", "")


def test_a_tree_that_is_stopped_is_killed(watch: Watch) -> None:
    with background().with_cancel() as ctx:
        watch.then(ctx.cancel)
        with pytest.raises(Canceled):
            run(
                ctx,
                [
                    "sh",
                    "-c",
                    'sleep 600 & echo > "$READY"; kill -STOP $!; kill -STOP $$',
                ],
                env=watch.env,
                grace=0.05,
            )
    assert watch.alive() == []


def test_last_words_are_heard(watch: Watch) -> None:
    """Whoever ends in order has its output, and its exit status, on the error."""
    code = (
        "import os, signal, sys\n"
        "def end(*_): print('x' * 300000); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\n"
        "print('first')\n"
        "open(os.environ['READY'], 'w').write('.')\n"
        "while True: signal.pause()\n"
    )
    with background().with_cancel() as ctx:
        watch.then(ctx.cancel)
        with pytest.raises(Canceled) as caught:
            run(
                ctx,
                python(code),
                env=watch.env,
                stdout=subprocess.PIPE,
                grace=PATIENCE,
            )
    ended = Ended.of(caught.value)
    assert ended is not None
    assert ended.returncode == 0
    assert ended.stdout == b"first\n" + b"x" * 300000 + b"\n"
    assert "exit status 0" in str(ended)


def test_text_that_ends_in_a_character_is_no_other_error(watch: Watch) -> None:
    code = (
        "import os, sys, time\n"
        "sys.stdout.buffer.write('ä'.encode()[:1]); sys.stdout.flush()\n"
        "open(os.environ['READY'], 'w').write('.')\n"
        "time.sleep(600)\n"
    )
    with background().with_cancel() as ctx:
        watch.then(ctx.cancel)
        with pytest.raises(Canceled) as caught:
            run(ctx, python(code), env=watch.env, capture_output=True, encoding="utf-8")
    ended = Ended.of(caught.value)
    assert ended is not None
    assert ended.stdout == "�"


@pytest.mark.usefixtures("told_by")
def test_the_grace_is_that_of_the_whole_tree(watch: Watch, tmp_path: Path) -> None:
    """A leader that goes at once does not take the time of its children away."""
    child = (
        f"trap 'sleep 0.1; touch {tmp_path}/in-order; exit' TERM; "
        'echo > "$READY"; while :; do sleep 0.01; done'
    )
    with background().with_cancel() as ctx:
        watch.then(ctx.cancel)
        with pytest.raises(Canceled):
            run(
                ctx,
                ["sh", "-c", 'sh -c "$CHILD" & wait'],
                env={**watch.env, "CHILD": child},
                grace=PATIENCE,
            )
    assert (tmp_path / "in-order").exists()
    assert watch.alive() == []


ESCAPES = (
    "import os, subprocess, sys, time\n"
    "print('before')\n"
    "subprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    "open(os.environ['READY'], 'w').write('.')\n"
)


@pytest.mark.usefixtures("told_by")
@pytest.mark.parametrize("lives", [True, False])
def test_whoever_escaped_with_the_pipe_holds_nobody_up(
    watch: Watch, *, lives: bool
) -> None:
    code = ESCAPES + ("time.sleep(600)" if lives else "")
    with background().with_cancel() as ctx:
        watch.then(ctx.cancel)
        with pytest.raises(Canceled) as caught:
            run(ctx, python(code), env=watch.env, capture_output=True)
    ended = Ended.of(caught.value)
    assert ended is not None
    assert ended.stdout == b"before\n"
    assert watch.see(1)  # that is the limit of what is promised


def test_what_is_left_in_the_background_is_ended(watch: Watch) -> None:
    done = run(
        background(),
        ["sh", "-c", "sleep 600 & exit 3"],
        env=watch.env,
        grace=PATIENCE,
    )
    assert done.returncode == 3
    assert watch.alive() == []


def test_input_that_nobody_reads_holds_nobody_up(watch: Watch) -> None:
    with background().with_cancel() as ctx:
        watch.then(ctx.cancel)
        with pytest.raises(Canceled):
            run(
                ctx,
                ["sh", "-c", 'echo > "$READY"; sleep 600'],
                env=watch.env,
                input=LARGE,
            )
    assert watch.alive() == []


def test_output_without_end_does_not_hide_the_end(watch: Watch) -> None:
    with pytest.raises(DeadlineExceeded) as caught:
        with background().with_timeout(0.1) as ctx:
            run(ctx, ["yes"], env=watch.env, capture_output=True)
    assert watch.alive() == []
    ended = Ended.of(caught.value)
    assert ended is not None
    assert ended.stdout.startswith(b"y\ny\n")


def test_nothing_is_started_when_it_is_over(tmp_path: Path) -> None:
    ctx = background().with_cancel()
    ctx.cancel()
    with pytest.raises(Canceled):
        run(ctx, ["touch", str(tmp_path / "started")])
    assert not (tmp_path / "started").exists()


def test_who_has_ended_by_itself_keeps_the_result() -> None:
    """Also when the context ends before anybody has looked."""
    ctx = background().with_cancel()
    process = Process(None, 1.0)
    process.start(["sh", "-c", "echo out; exit 3"], {"stdout": subprocess.PIPE})
    os.waitid(os.P_PID, process._group._popen.pid, os.WEXITED | os.WNOWAIT)
    ctx.cancel()
    assert process.complete(ctx)
    assert (process.returncode, process.stdout) == (3, b"out\n")


@pytest.mark.usefixtures("told_by")
def test_ends_of_all_kinds_at_the_same_moment(watch: Watch) -> None:
    """Whoever is faster: a result or the context's error, and nothing left."""
    results = 0
    for n in range(30):
        with background().with_timeout(n % 10 * 0.001 + 0.001) as ctx:
            try:
                done = run(
                    ctx, ["sh", "-c", "echo x"], env=watch.env, capture_output=True
                )
            except DeadlineExceeded:
                continue
            assert done.stdout == b"x\n"
            results += 1
    assert watch.alive() == []
    assert results <= 30


def test_keyboard_interrupt_ends_the_tree(watch: Watch) -> None:
    main = threading.get_ident()

    def interrupt() -> None:
        # Before that it would break off Popen, which nobody can see to.
        until(lambda: "complete" in functions(main), "it is waited for")
        os.kill(os.getpid(), signal.SIGINT)

    watch.then(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(background(), ["sh", "-c", TREE], env=watch.env)
    assert watch.alive() == []


def functions(ident: int) -> list[str]:
    """Those that a thread is in."""
    frame = sys._current_frames().get(ident)
    found = []
    while frame is not None:
        found.append(frame.f_code.co_name)
        frame = frame.f_back
    return found


def test_a_number_is_signaled_only_while_it_is_ours(
    watch: Watch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group has a member then, were it only the zombie of its leader."""
    killpg = os.killpg
    signaled: list[bool] = []

    def checked(group: int, number: int) -> None:
        if number:
            states = subprocess.run(
                ["ps", "-e", "-o", "pgid="], capture_output=True, text=True, check=True
            )
            signaled.append(str(group) in states.stdout.split())
        killpg(group, number)

    monkeypatch.setattr(os, "killpg", checked)
    with background().with_cancel() as ctx:
        watch.then(ctx.cancel)
        with pytest.raises(Canceled):
            run(ctx, ["sh", "-c", DEAF], env=watch.env, grace=0.05)
    run(background(), ["sh", "-c", "sleep 600 & exit"], env=watch.env)
    run(background(), ["true"])
    assert signaled
    assert all(signaled)


def test_a_zombie_that_nobody_reaps_is_not_waited_for(watch: Watch) -> None:
    """As in a container whose first process does not reap.

    Here the parent is one that has left for a session of its own, and never waits.
    """
    code = (
        "import os, time\n"
        "if not os.fork():\n"
        "    if os.fork(): time.sleep(600)\n"
        "    if not os.fork(): time.sleep(600)\n"  # in the group
        "    os.setsid()\n"  # its parent, which is not any more
        "    open(os.environ['READY'], 'w').write('.')\n"
        "time.sleep(600)\n"
    )
    began = time.monotonic()
    with background().with_cancel() as ctx:
        watch.then(ctx.cancel)
        with pytest.raises(Canceled):
            run(ctx, python(code), env=watch.env, grace=PATIENCE)
    assert time.monotonic() - began < PATIENCE
    assert watch.see(1)


# -- bad input -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"timeout": 1.0}, TypeError, "with_timeout"),
        ({"start_new_session": False}, TypeError, "session"),
        ({"process_group": 0}, TypeError, "group"),
        ({"preexec_fn": print}, TypeError, "preexec_fn"),
        ({"grace": -1}, ValueError, "grace"),
        ({"grace": float("nan")}, ValueError, "grace"),
        ({"grace": "1"}, TypeError, "grace"),
        ({"input": "text"}, TypeError, "text=True"),
        ({"input": b"bytes", "text": True}, TypeError, "string"),
        ({"input": b"", "stdin": subprocess.PIPE}, ValueError, "stdin"),
        ({"capture_output": True, "stdout": -1}, ValueError, "capture_output"),
        ({"no_such_option": 1}, TypeError, "no_such_option"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tmp_path: Path, options: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        run(background(), ["touch", str(tmp_path / "started")], **options)
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize("ctx", [None, 3.0, ["ls"]])
def test_a_context_is_wanted(ctx: Any) -> None:
    with pytest.raises(TypeError, match="run takes a context"):
        run(ctx, ["true"])


def test_on_a_loops_thread_it_refuses_to_block() -> None:
    async def main(ctx: Context) -> None:
        run(ctx, ["true"])

    with pytest.raises(RuntimeError, match="run_async"):
        asyncio.run(main(background()))


def test_types() -> None:
    """Checked by mypy: strings with text=True or encoding=, else bytes."""
    text: subprocess.CompletedProcess[str] = run(background(), "true", text=True)
    named: subprocess.CompletedProcess[str] = run(
        background(), "true", encoding="utf-8"
    )
    raw: subprocess.CompletedProcess[bytes] = run(background(), "true", input=b"x")
    assert (text.stdout, named.stdout, raw.stdout) == (None, None, None)


def test_threads_run_processes_side_by_side() -> None:
    """Each waits for its own; none takes another's exit status."""
    codes: dict[int, int] = {}

    def one(code: int) -> None:
        done = run(background(), ["sh", "-c", f"exit {code}"], capture_output=True)
        codes[code] = done.returncode

    threads = [threading.Thread(target=one, args=(code,)) for code in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert codes == {code: code for code in range(12)}

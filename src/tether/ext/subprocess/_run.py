"""run and run_async: subprocess.run with a context first."""

from __future__ import annotations

import locale
import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import IO, Any, Literal, Required, TypeAlias, TypedDict, Unpack, overload

from tether import Context, ContextError, _clock, _watching
from tether._checks import seconds_
from tether._errors import NOT_A_CONTEXT
from tether._loops import refuse_to_block
from tether._to_thread import to_ending_thread

from ._process import Ended, Process

Path: TypeAlias = str | bytes | os.PathLike[str] | os.PathLike[bytes]
Command: TypeAlias = Path | Sequence[Path]
File: TypeAlias = int | IO[Any] | None

GRACE = 1.0


class _Common(TypedDict, total=False):
    stdin: File
    stdout: File
    stderr: File
    capture_output: bool
    check: bool
    grace: float
    cwd: Path | None
    env: Mapping[str, Path] | None
    shell: bool
    executable: Path | None
    pass_fds: Iterable[int]
    user: str | int | None
    group: str | int | None
    extra_groups: Iterable[str | int] | None
    umask: int


class Options(_Common, total=False):
    """What `run` takes beside its command, as `subprocess.run`; and `grace`.

    Not `timeout`, which is the context's, and nothing about sessions and groups.
    """

    input: bytes | bytearray | memoryview | None
    text: Literal[False]


class TextOptions(_Common, total=False):
    """The same with `text=True`: input and output are strings."""

    input: str | None
    text: Required[Literal[True]]
    encoding: str | None
    errors: str | None


class EncodedOptions(_Common, total=False):
    """The same with `encoding=`, which says that they are strings, too."""

    input: str | None
    text: Literal[True]
    encoding: Required[str]
    errors: str | None


# Each of ours, and what it is good for instead.
_REFUSED = {
    "timeout": "the time is that of ctx: with ctx.with_timeout(2.0) as budget: ...",
    "start_new_session": "each process leads a session of its own anyway",
    "process_group": "each process leads a group of its own anyway",
    "preexec_fn": "it may deadlock beside threads, of which there are some here",
}


@overload
def run(
    ctx: Context, cmd: Command, **options: Unpack[TextOptions]
) -> subprocess.CompletedProcess[str]: ...
@overload
def run(
    ctx: Context, cmd: Command, **options: Unpack[EncodedOptions]
) -> subprocess.CompletedProcess[str]: ...
@overload
def run(
    ctx: Context, cmd: Command, **options: Unpack[Options]
) -> subprocess.CompletedProcess[bytes]: ...
def run(ctx: Context, cmd: Command, **options: Any) -> object:
    """A process that has ended, run within `ctx`; as `subprocess.run`, in a thread.

    It is alone when it ends: what it has left in the background is ended as well,
    unless that has made itself a session of its own. `grace` is how many seconds
    everything has between SIGTERM and SIGKILL (1 if not given, 0 for SIGKILL at once);
    they come on top of the time of `ctx`.

        >>> import sys
        >>> from tether import background
        >>> with background().with_timeout(60.0) as ctx:
        ...     run(
        ...         ctx,
        ...         [sys.executable, "-c", "print(6 * 7, end='')"],
        ...         capture_output=True,
        ...         text=True,
        ...         check=True,
        ...     ).stdout
        '42'

    Nothing is started if `ctx` is over. When it ends, raises its error from `Ended`,
    which has the output so far; a process that had ended by itself, with all its output
    read, keeps its result. With `check=True` a failure is a
    `subprocess.CalledProcessError`; a program that is missing is a `FileNotFoundError`.
    """
    refuse_to_block("run", "await run_async(ctx, ...)")
    _check(ctx, options)
    return _run(ctx, cmd, options)


@overload
async def run_async(
    ctx: Context, cmd: Command, **options: Unpack[TextOptions]
) -> subprocess.CompletedProcess[str]: ...
@overload
async def run_async(
    ctx: Context, cmd: Command, **options: Unpack[EncodedOptions]
) -> subprocess.CompletedProcess[str]: ...
@overload
async def run_async(
    ctx: Context, cmd: Command, **options: Unpack[Options]
) -> subprocess.CompletedProcess[bytes]: ...
async def run_async(ctx: Context, cmd: Command, **options: Any) -> object:
    """A process that has ended, run within `ctx`; awaited.

    As `run`. Whatever interrupts the task ends the process, a foreign `task.cancel()`
    too, and goes on when it is gone. If it had ended by itself meanwhile, its result is
    returned, and the interruption by a block of tether's comes at the next wait.

        >>> import asyncio, sys
        >>> from tether import background
        >>> done = asyncio.run(
        ...     run_async(background(), [sys.executable, "-c", "exit(3)"])
        ... )
        >>> done.returncode
        3
    """
    _check(ctx, options)
    return await to_ending_thread(ctx, _run, cmd, options)


def _check(ctx: object, options: dict[str, Any]) -> None:
    if not isinstance(ctx, Context):
        raise TypeError(NOT_A_CONTEXT.format(name="run", value=ctx))
    if not hasattr(os, "killpg"):
        raise RuntimeError(
            "run() needs process groups, which this system does not have"
        )
    for name in _REFUSED.keys() & options.keys():
        raise TypeError(f"run() takes no {name}: {_REFUSED[name]}")
    grace = seconds_("grace", options.get("grace", GRACE))
    if grace < 0:
        raise ValueError(f"grace is a number of seconds, 0 or more, not {grace!r}")


def _run(
    ctx: Context, cmd: Command, options: dict[str, Any]
) -> subprocess.CompletedProcess[Any]:
    options = {**options}
    grace = float(options.pop("grace", GRACE))
    check = options.pop("check", False)
    text = _Text(options)
    data = text.encode(_take_input(options))
    ctx.check()
    process = Process(data, grace)
    process.start(cmd, options)
    by_itself = process.complete(ctx)
    code: Any = process.returncode
    if not by_itself:
        _tell(ctx)
        raise _error(ctx, Ended(code, cmd, *text.so_far(process)))
    output, errors = text.decode(process.stdout), text.decode(process.stderr)
    if check and code:
        raise subprocess.CalledProcessError(code, cmd, output, errors)
    return subprocess.CompletedProcess(cmd, code, output, errors)


def _tell(ctx: Context) -> None:
    """Say how long it took from the end of the context until all was gone."""
    end = ctx._tether_end_of()
    if _watching.released is not None and end is not None:
        _watching.released("subprocess", max(0.0, _clock.now() - end.at))


def _error(ctx: Context, ended: Ended) -> BaseException:
    """The error of the context, with what became of the process."""
    error = ctx.err()
    assert error is not None
    if isinstance(error, ContextError):
        error.add_detail(str(ended))
    ended.__cause__ = error.__cause__  # why the context ended stays in the chain
    error.__cause__ = ended
    return error


def _take_input(options: dict[str, Any]) -> Any:
    """The input; the options are changed to what Popen takes."""
    data = options.pop("input", None)
    if data is not None:
        if options.get("stdin") is not None:
            raise ValueError("stdin and input may not both be used")
        options["stdin"] = subprocess.PIPE
    if options.pop("capture_output", False):
        if {"stdout", "stderr"} & {n for n, to in options.items() if to is not None}:
            raise ValueError("stdout and stderr may not be used with capture_output")
        options["stdout"] = options["stderr"] = subprocess.PIPE
    return data


class _Text:
    """How input and output are strings, if they are."""

    def __init__(self, options: dict[str, Any]) -> None:
        text = options.pop("text", None) or options.pop("universal_newlines", None)
        encoding, errors = options.pop("encoding", None), options.pop("errors", None)
        self._is_text = bool(text or encoding or errors)
        self._encoding = encoding or locale.getpreferredencoding(do_setlocale=False)
        self._errors = errors or "strict"

    def encode(self, data: Any) -> bytes | None:
        """What goes into the pipe."""
        if data is None:
            return None
        if self._is_text:
            if not isinstance(data, str):
                raise TypeError(f"with text=True input is a string, not {data!r:.80}")
            return data.encode(self._encoding, self._errors)
        if isinstance(data, str):
            raise TypeError("input is bytes; pass text=True to give a string")
        return bytes(data)

    def decode(self, data: bytes | None, errors: str = "") -> Any:
        """What came out of the pipe."""
        if data is None or not self._is_text:
            return data
        text = data.decode(self._encoding, errors or self._errors)
        return text.replace("\r\n", "\n").replace("\r", "\n")

    def so_far(self, process: Process) -> tuple[Any, Any]:
        """The output of a process that was ended, perhaps inside a character."""
        out, err = process.stdout, process.stderr
        return self.decode(out, "replace"), self.decode(err, "replace")

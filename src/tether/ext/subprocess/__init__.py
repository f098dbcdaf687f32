"""Processes that end with their context, with everything that they have started.

    done = run(ctx, ["git", "fetch"], capture_output=True, text=True, check=True)

`run` is for threads, `run_async` for tasks; both are `subprocess.run` with a context
first. When the context ends, the process and its descendants get SIGTERM, after `grace`
seconds SIGKILL, and the call returns when they are gone. What comes then is the
context's error with an `Ended` as its `__cause__`, which has the output so far.

How, and why not otherwise:

- Each process leads a session and a group of its own, so that one signal reaches the
  children of a shell too (`Popen.kill()` leaves them behind). One that has made itself
  a session of its own has left, and lives on.
- The thread that waits does all of it: it sleeps until a pipe, the process or the
  context (`ctx.fileno()`) has something to tell. So nothing is ever signaled from
  elsewhere, at a moment when the number may already be another process's.
- The leader stays a zombie until its group has been dealt with, because until then the
  number of the group cannot be given away. A pidfd tells that it has ended; without
  one (not Linux) it is asked every few milliseconds.
- Pipes are read until they are closed, as everywhere. But a process that escaped may
  hold one open for ever, so after the end of the context what is in them is enough.
- In a task the same function runs in a thread of tether's. It works on every event
  loop, and nobody's child watcher is needed.

A process whose user is another one (sudo) cannot be signaled; one that waits in the
kernel for a dead disk does not end. After some seconds the call returns all the same,
and says so.
"""

from ._process import Ended as Ended
from ._run import EncodedOptions as EncodedOptions
from ._run import Options as Options
from ._run import TextOptions as TextOptions
from ._run import run as run
from ._run import run_async as run_async

__all__ = ["EncodedOptions", "Ended", "Options", "TextOptions", "run", "run_async"]

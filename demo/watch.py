"""What a pod says of itself at `/_stats`: how many tasks it has, and where they wait.

On the service's own port only because this is a demo: in production it belongs on an
internal one.
"""

from __future__ import annotations

import asyncio
import linecache
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import CoroutineType

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

PREFETCH = Path(__file__).parent / "prefetch"


def around(app: ASGIApp, more: Callable[[], dict[str, int]]) -> ASGIApp:
    """The application, and `/_stats` with these numbers beside its own."""

    async def watched(scope: Connection, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == "/_stats":
            answer = JSONResponse({**stats(), **more()})
            await answer(scope, receive, send)
        else:
            await app(scope, receive, send)

    return watched


def stats() -> dict[str, object]:
    """The tasks of this loop, and the lines where those of prefetches wait."""
    tasks = asyncio.all_tasks()
    lines = Counter(place for task in tasks if (place := _in_prefetch(task)))
    roots = [
        {"root": root, "line": line, "tasks": n}
        for (root, line), n in lines.most_common(5)
    ]
    return {
        "pid": os.getpid(),
        "tasks": len(tasks),
        "prefetches": lines.total(),
        "roots": roots,
    }


def _in_prefetch(task: asyncio.Task[object]) -> tuple[str, str] | None:
    """The prefetch that a task runs, and the line of it in which it waits."""
    coroutine: object = task.get_coro()
    while isinstance(coroutine, CoroutineType):  # each waits for the next
        code, frame = coroutine.cr_code, coroutine.cr_frame
        path = Path(code.co_filename)
        if frame is not None and path.parent == PREFETCH and path.stem != "__init__":
            line = linecache.getline(code.co_filename, frame.f_lineno).strip()
            return f"{code.co_name}, demo/prefetch/{path.name}", line
        coroutine = coroutine.cr_await
    return None

"""The callee waits and takes no context."""
import queue
import subprocess
import time

from tether import Context

jobs: queue.Queue[str] = queue.Queue()


def nap() -> None:
    time.sleep(5.0)


def convert(path: str) -> None:
    subprocess.run(["convert", path])


def publish(path: str) -> None:
    convert(path)


def next_job() -> str:
    return jobs.get()


def upload(ctx: Context, path: str) -> None:
    convert(path)  # error: CTX107
    publish(path)  # error: CTX107
    nap()  # error: CTX107
    next_job()  # error: CTX107


# Right:


def name(path: str) -> str:
    return path.upper()


def peek() -> str:
    return jobs.get(block=False)


def limited(ctx: Context, path: str) -> None:
    subprocess.run(["convert", path], timeout=min(60.0, ctx.remaining()))


def fine(ctx: Context, path: str) -> None:
    name(path)
    peek()
    limited(ctx, path)


def shutdown(ctx: Context) -> None:
    nap()

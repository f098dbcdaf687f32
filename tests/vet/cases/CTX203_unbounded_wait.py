"""Waits of threads that no context ends."""
import queue
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

from tether import Context

jobs: queue.Queue[str] = queue.Queue()
ready = threading.Event()
pool = ThreadPoolExecutor(4)


def work(ctx: Context) -> None:
    jobs.get()  # error: CTX203
    jobs.get(True)  # error: CTX203
    ready.wait()  # error: CTX203
    ready.wait(None)  # error: CTX203


def spawn(ctx: Context) -> None:
    subprocess.run(["convert"])  # error: CTX203
    process = subprocess.Popen(["convert"])
    process.wait()  # error: CTX203


class Cache:
    def __init__(self) -> None:
        self._lock = threading.Lock()

    def fill(self, ctx: Context) -> None:
        self._lock.acquire()  # error: CTX203
        future = pool.submit(len, "x")
        future.result()  # error: CTX203


# Right:


def limited(ctx: Context) -> None:
    jobs.get(timeout=1.0)
    jobs.get(True, 1.0)
    jobs.get(False)
    jobs.get(block=False)
    jobs.get_nowait()
    ready.wait(1.0)
    subprocess.run(["convert"], timeout=min(60.0, ctx.remaining()))
    process = subprocess.Popen(["convert"])
    with ctx.interrupting(process.kill):
        process.wait()


def without_ctx() -> None:
    jobs.get()


def stop(ctx: Context, thread: threading.Thread) -> None:
    thread.join()


def other(ctx: Context, table: dict[str, str]) -> None:
    table.get("x")
    ", ".join(table)


barrier = threading.Barrier(2, timeout=10.0)


def meet(ctx: Context) -> None:
    barrier.wait()


def gives_back(ctx: Context, pool: ThreadPoolExecutor) -> None:
    future = pool.submit(open, "x")
    try:
        ctx.wait(1.0)
    except BaseException:
        future.result().close()
        raise

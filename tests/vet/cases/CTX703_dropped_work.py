"""Tasks and futures that nobody holds. No tether in sight."""
import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(4)


class Client:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop

    def ping(self) -> None:
        self.loop.create_task(self.send())  # error: CTX703
        asyncio.get_running_loop().create_task(self.send())  # error: CTX703
        asyncio.run_coroutine_threadsafe(self.send(), self.loop)  # error: CTX703

    async def send(self) -> None: ...

    def __del__(self) -> None:
        self.loop.create_task(self.send())


def upload(path: str) -> None:
    pool.submit(open, path)  # error: CTX703


def all_of_them(paths: list[str]) -> None:
    with ThreadPoolExecutor(4) as own:
        for path in paths:
            own.submit(open, path)  # error: CTX703


# Right:


def careful(path: str) -> None:
    try:
        open(path)
    except Exception:
        print("failed")


def fine(client: Client, paths: list[str], queue: asyncio.Queue[str]) -> None:
    task = client.loop.create_task(client.send())
    task.add_done_callback(print)
    pool.submit(careful, paths[0])
    futures = [pool.submit(open, path) for path in paths]
    [future.result() for future in futures]
    pool.submit(open, paths[0]).result()
    asyncio.run_coroutine_threadsafe(queue.put("x"), client.loop)


async def grouped(client: Client, form: object) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(client.send())
    form.submit(1)


def ruff_says_so(client: Client) -> None:
    loop = asyncio.get_running_loop()
    loop.create_task(client.send())
    asyncio.create_task(client.send())


class Response:
    async def _close(self) -> None:
        """Nothing in it fails."""
        self.body.close()

    def close(self, client: Client) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), client.loop)


class AsyncHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        pool.submit(super().emit, record)


def listen(message: str) -> None:
    def run() -> None:
        careful(message)

    pool.submit(run)

"""Tasks that go on after their cancellation. No tether in sight."""
import asyncio
import contextlib


async def worker(queue: asyncio.Queue[str]) -> None:
    while True:
        try:
            await handle(await queue.get())
        except asyncio.CancelledError:  # error: CTX503
            print("interrupted")


async def bare(queue: asyncio.Queue[str]) -> None:
    while True:
        try:
            item = await queue.get()
            await handle(item)
        except:  # error: CTX503
            print("failed")


async def two_steps() -> None:
    try:
        await load()
    except (OSError, asyncio.CancelledError):  # error: CTX503
        print("not loaded")
    await show()


async def base() -> None:
    for number in range(3):
        try:
            await load()
        except BaseException as exc:  # error: CTX503
            print(exc)


class Stubborn:
    closing = False

    async def read(self) -> None:
        while not self.closing:
            try:
                await load()
            except asyncio.CancelledError:  # error: CTX503
                print("closing is set by nobody who cancels")


# Right:


async def raises(queue: asyncio.Queue[str]) -> None:
    while True:
        try:
            await handle(await queue.get())
        except asyncio.CancelledError:
            print("interrupted")
            raise


async def last_statement() -> None:
    try:
        while True:
            await load()
    except asyncio.CancelledError:
        print("done")


async def returns(queue: asyncio.Queue[str]) -> None:
    while True:
        try:
            await handle(await queue.get())
        except asyncio.CancelledError:
            return
        except Exception:
            print("failed")


async def own_child() -> None:
    task = asyncio.create_task(load())
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    await show()


async def some_task(task: asyncio.Task[None]) -> None:
    try:
        await task
    except asyncio.CancelledError:
        pass
    await show()


async def stop(worker: object) -> None:
    try:
        await worker.finish()
    except asyncio.CancelledError:
        pass
    await show()


async def cleans_up(conn: object) -> None:
    try:
        await load()
    except asyncio.CancelledError:
        print("canceled")
    finally:
        await conn.close()


async def asks(task: asyncio.Task[None]) -> None:
    while True:
        try:
            await load()
        except asyncio.CancelledError:
            if task.cancelling():  # spelling: theirs
                break


async def remembers() -> None:
    gone = False
    while not gone:
        try:
            await load()
        except asyncio.CancelledError:
            gone = True


async def ordinary() -> None:
    while True:
        try:
            await load()
        except Exception:
            print("failed")


async def hands_on() -> None:
    while True:
        try:
            await load()
        except BaseException as exc:
            convert_error(exc)


def in_a_thread() -> None:
    while True:
        try:
            load()
        except BaseException:
            print("failed")


async def suppressed(task: asyncio.Task[None]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await show()


class Reporter:
    stopping = False
    running = True

    async def report(self) -> None:
        while self.running:
            try:
                await load()
            except asyncio.CancelledError:
                print("once more, unless told otherwise")

    async def flush(self) -> None:
        while True:
            try:
                await load()
            except asyncio.CancelledError:
                if self.stopping:
                    return
                print("not meant for us")

    def end(self, tasks: list[asyncio.Task[None]]) -> None:
        self.running = False
        for task in tasks:
            task.cancel()

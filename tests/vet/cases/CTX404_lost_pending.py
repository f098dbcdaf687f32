"""What asyncio.wait leaves. No tether in sight."""
import asyncio


async def consume(queue: asyncio.Queue[str], stop: asyncio.Event) -> None:
    while not stop.is_set():
        done, _ = await asyncio.wait(  # error: CTX404
            [asyncio.create_task(queue.get()), asyncio.create_task(stop.wait())],
            return_when=asyncio.FIRST_COMPLETED,
        )
        handle(done)


async def first_of(a: object, b: object) -> object:
    one = asyncio.create_task(a())
    two = asyncio.create_task(b())
    done, pending = await asyncio.wait({one, two}, return_when=asyncio.FIRST_COMPLETED)  # error: CTX404
    return done.pop().result()


async def limited(a: object) -> None:
    await asyncio.wait([asyncio.create_task(a())], timeout=1.0)  # error: CTX404


async def fastest(mirrors: list[object]) -> object:
    tasks = [asyncio.create_task(mirror()) for mirror in mirrors]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)  # error: CTX404
    return done.pop().result()


# Right:


async def fastest_only(mirrors: list[object]) -> object:
    tasks = [asyncio.create_task(mirror()) for mirror in mirrors]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    return done.pop().result()


async def appended(mirrors: list[object]) -> None:
    tasks = []
    for mirror in mirrors:
        tasks.append(asyncio.create_task(mirror()))
    await asyncio.wait(tasks, timeout=1.0)


async def handed_on(mirrors: list[object], keep: object) -> None:
    tasks = {asyncio.create_task(mirror()) for mirror in mirrors}
    keep.update(tasks)
    await asyncio.wait(tasks, timeout=1.0)


async def cleaned(a: object, b: object) -> object:
    one = asyncio.create_task(a())
    two = asyncio.create_task(b())
    done, pending = await asyncio.wait({one, two}, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return done.pop().result()


async def by_name(a: object, b: object) -> None:
    one = asyncio.create_task(a())
    two = asyncio.create_task(b())
    try:
        await asyncio.wait({one, two}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        one.cancel()
        two.cancel()


async def all_of_them(a: object) -> None:
    await asyncio.wait([asyncio.create_task(a())])


async def somebody_elses(tasks: set[asyncio.Task[None]]) -> None:
    await asyncio.wait(tasks, timeout=1.0)


async def main() -> None:
    one = asyncio.create_task(serve())
    two = asyncio.create_task(stopped())
    await asyncio.wait([one, two], return_when=asyncio.FIRST_COMPLETED)


async def soft(spawn: object) -> str:
    server = asyncio.ensure_future(spawn())
    await asyncio.wait([server], timeout=1.0)
    return "ready" if server.done() else "pending"


async def in_a_group(a: object, b: object) -> None:
    async with asyncio.TaskGroup() as group:
        one = group.create_task(a())
        two = group.create_task(b())
        await asyncio.wait([one, two], return_when=asyncio.FIRST_COMPLETED)

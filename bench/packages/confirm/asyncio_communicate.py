"""Process.communicate(): canceled, then killed: wait() hangs if much was to be read.

As nobody reads any further, the pipe never comes to its end.
"""

from __future__ import annotations

import asyncio
import sys

TALKS = [sys.executable, "-S", "-c", "while True: print('x' * 1000)"]


async def shown() -> str:
    """What hangs."""
    process = await asyncio.create_subprocess_exec(
        *TALKS, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    task = asyncio.create_task(process.communicate())
    await asyncio.sleep(0.3)
    task.cancel()
    await asyncio.wait({task})
    await asyncio.sleep(0.3)  # the buffer fills, and the loop stops reading
    process.kill()
    said = ""
    try:
        async with asyncio.timeout(2.0):
            await process.wait()
    except TimeoutError:
        said = "the process is killed, and wait() does not come back"
    assert process.stdout is not None
    while await process.stdout.read(65536):  # wait() comes back once it is read
        pass
    await process.wait()
    return said


if __name__ == "__main__":
    print(asyncio.run(shown()) or "nothing hangs")

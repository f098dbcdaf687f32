"""A program that SIGTERM kills."""
import asyncio

from tether import background


async def main() -> None:
    await serve(background())


asyncio.run(main())  # error: CTX902

"""A service that does all of it right: no rule has anything to say."""
import asyncio
from starlette.requests import Request
from starlette.responses import JSONResponse
from tether import Context, DeadlineExceeded, Group, Key, WaitGroup, background, current, run
from tether.ext.sqlite import fetch_one
import httpx, sqlite3, logging

log = logging.getLogger("shop")
USER: Key[str] = Key("user")
detached = WaitGroup(timeout=10.0, limit=256)
http = httpx.AsyncClient(timeout=5.0)

async def get(ctx: Context, service: str, uid: int) -> dict:
    return (await http.get(f"http://{service}/v1/{uid}")).json()

async def checkout(ctx: Context, request: Request) -> JSONResponse:
    try:
        ctx.require(0.1)
        with ctx.with_timeout(2.0, reserve=0.2) as budget:
            async with Group(budget) as group:
                user = group.go(get, "users", 1)
                cart = group.go(get, "carts", 1)
            with budget.with_timeout(0.5) as query:
                stock = await asyncio.to_thread(find, query, 1)
    except DeadlineExceeded as exc:
        log.warning(exc.detail)
        return JSONResponse({}, 504)
    detached.go_with(ctx, get, "audit", 1)
    return JSONResponse([user.result(), cart.result(), stock])

def find(ctx: Context, uid: int) -> object:
    conn = sqlite3.connect("x.db")
    try:
        return fetch_one(ctx, conn, "select 1")
    finally:
        conn.close()

async def handler(request: Request) -> JSONResponse:
    ctx = current().with_value(USER, request.headers["user"])
    return await checkout(ctx, request)

def report(ctx: Context, path: str) -> None:
    with ctx.with_timeout(30.0) as work:
        for row in work.poll(range(10), every=100):
            print(row)

def worker(ctx: Context) -> None:
    while not ctx.done():
        try:
            with ctx.with_timeout(0.8) as attempt:
                find(attempt, 1)
        except Exception as exc:
            if ctx.done():
                return
            log.warning("failed: %s", exc)
        ctx.sleep(0.05)

async def main(ctx: Context) -> None:
    async with Group(ctx) as group:
        group.go(worker)
        await ctx.wait_async()
    with background().with_timeout(30.0) as grace:
        await detached.drain_async(grace)

if __name__ == "__main__":
    run(main, drain=30.0)

"""What is known about other people's libraries: by name, since they may be absent."""

from __future__ import annotations

# What a call answers, where the name of the callee does not say it (a capital does).
ANSWERS: dict[str, str] = {
    "asyncio.create_subprocess_exec": "asyncio.subprocess.Process",
    "asyncio.create_subprocess_shell": "asyncio.subprocess.Process",
    "asyncio.create_task": "asyncio.Task",
    "asyncio.ensure_future": "asyncio.Task",
    "asyncio.get_event_loop": "asyncio.AbstractEventLoop",
    "asyncio.get_running_loop": "asyncio.AbstractEventLoop",
    "asyncio.new_event_loop": "asyncio.AbstractEventLoop",
    "aiosqlite.connect": "aiosqlite.Connection",
    "MySQLdb.connect": "MySQLdb.Connection",
    "psycopg.connect": "psycopg.Connection",
    "psycopg2.connect": "psycopg2.Connection",
    "pymysql.connect": "pymysql.Connection",
    "redis.Redis.from_url": "redis.Redis",
    "redis.from_url": "redis.Redis",
    "requests.session": "requests.Session",
    "socket.create_connection": "socket.socket",
    "sqlalchemy.create_engine": "sqlalchemy.Engine",
    "sqlalchemy.orm.scoped_session": "sqlalchemy.orm.Session",
    "sqlalchemy.orm.sessionmaker": "sqlalchemy.orm.sessionmaker",
    "sqlite3.connect": "sqlite3.Connection",
    "subprocess.Popen": "subprocess.Popen",
    "tether.background": "tether.Context",
    "tether.current": "tether.Context",
    "tether.merge": "tether.Scope",
    "tether.signals.with_signals": "tether.Scope",
    "tether.todo": "tether.Context",
}
# The same for methods: kind of the object and method.
for _driver in ("MySQLdb", "psycopg", "psycopg2", "pymysql", "sqlite3", "aiosqlite"):
    ANSWERS[f"{_driver}.Connection.cursor"] = f"{_driver}.Cursor"
ANSWERS |= {
    "concurrent.futures.ThreadPoolExecutor.submit": "concurrent.futures.Future",
    "concurrent.futures.ProcessPoolExecutor.submit": "concurrent.futures.Future",
    "psycopg.Connection.execute": "psycopg.Cursor",
    "psycopg_pool.ConnectionPool.connection": "psycopg.Connection",
    "psycopg_pool.ConnectionPool.getconn": "psycopg.Connection",
    "redis.Redis.lock": "redis.lock.Lock",
    "redis.Redis.pipeline": "redis.client.Pipeline",
    "redis.Redis.pubsub": "redis.client.PubSub",
    "sqlalchemy.Engine.begin": "sqlalchemy.Connection",
    "sqlalchemy.Engine.connect": "sqlalchemy.Connection",
    "sqlalchemy.orm.Session.connection": "sqlalchemy.Connection",
    "sqlalchemy.orm.sessionmaker.begin": "sqlalchemy.orm.Session",
    "sqlite3.Connection.execute": "sqlite3.Cursor",
}
# What an object answers when it is called itself.
CALLED: dict[str, str] = {
    "sqlalchemy.orm.sessionmaker": "sqlalchemy.orm.Session",
}
# Names under which one class is known.
SAME: dict[str, str] = {
    "asyncio.events.AbstractEventLoop": "asyncio.AbstractEventLoop",
    "asyncio.locks.Event": "asyncio.Event",
    "concurrent.futures.thread.ThreadPoolExecutor": (
        "concurrent.futures.ThreadPoolExecutor"
    ),
    "redis.StrictRedis": "redis.Redis",
    "redis.client.Redis": "redis.Redis",
    "requests.sessions.Session": "requests.Session",
    "sqlalchemy.engine.Connection": "sqlalchemy.Connection",
    "sqlalchemy.engine.Engine": "sqlalchemy.Engine",
    "sqlalchemy.engine.create_engine": "sqlalchemy.create_engine",
    "sqlalchemy.orm.session.Session": "sqlalchemy.orm.Session",
}
# The types of tether's words; their methods answer contexts.
CONTEXT, SCOPE = "tether.Context", "tether.Scope"
OURS = {
    "tether._context.Context": CONTEXT,
    "tether._scope.Context": CONTEXT,
    "tether._scope.Scope": SCOPE,
    "tether._roots.background": "tether.background",
    "tether._roots.current": "tether.current",
    "tether._roots.todo": "tether.todo",
    "tether._keys.Key": "tether.Key",
    "tether._group.Group": "tether.Group",
    "tether._waitgroup.WaitGroup": "tether.WaitGroup",
    "tether._semaphore.Semaphore": "tether.Semaphore",
    "tether._queue.Queue": "tether.Queue",
}
SAME |= OURS
DERIVE_SCOPE = frozenset({"with_cancel", "with_timeout", "with_deadline"})
DERIVE_CONTEXT = frozenset({"with_value", "without_cancel"})

# Requests: whoever has one has the request's context, `current()`.
REQUESTS = frozenset(
    {
        "aiohttp.web.Request",
        "django.http.HttpRequest",
        "fastapi.Request",
        "fastapi.WebSocket",
        "litestar.Request",
        "quart.Request",
        "sanic.Request",
        "starlette.requests.Request",
        "starlette.websockets.WebSocket",
    }
)
# Libraries that have a `ctx` of their own, first in the functions they call.
OTHER_CTX = frozenset(
    {"click", "typer", "discord", "invoke", "nextcord", "disnake", "rich_click"}
)

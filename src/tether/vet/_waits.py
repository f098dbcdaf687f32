"""Calls that block their thread until somebody else does something.

Each with the argument that bounds it: its keyword, and its position (-1: only by
keyword; None: nothing bounds it).
"""

from __future__ import annotations

import ast

Bound = tuple[str, int] | None

WAITS: dict[str, Bound] = {
    "time.sleep": None,
    "queue.Queue.get": ("timeout", 1),
    "queue.Queue.join": None,
    "queue.Queue.put": ("timeout", 2),
    "queue.LifoQueue.get": ("timeout", 1),
    "queue.PriorityQueue.get": ("timeout", 1),
    "queue.SimpleQueue.get": ("timeout", 1),
    "multiprocessing.Queue.get": ("timeout", 1),
    "multiprocessing.Process.join": ("timeout", 0),
    "threading.Barrier.wait": ("timeout", 0),
    "threading.BoundedSemaphore.acquire": ("timeout", 1),
    "threading.Condition.wait": ("timeout", 0),
    "threading.Condition.wait_for": ("timeout", 1),
    "threading.Event.wait": ("timeout", 0),
    "threading.Lock.acquire": ("timeout", 1),
    "threading.RLock.acquire": ("timeout", 1),
    "threading.Semaphore.acquire": ("timeout", 1),
    "threading.Thread.join": ("timeout", 0),
    "concurrent.futures.Future.result": ("timeout", 0),
    "concurrent.futures.Future.exception": ("timeout", 0),
    "concurrent.futures.wait": ("timeout", 1),
    "concurrent.futures.as_completed": ("timeout", 1),
    "subprocess.run": ("timeout", -1),
    "subprocess.call": ("timeout", -1),
    "subprocess.check_call": ("timeout", -1),
    "subprocess.check_output": ("timeout", -1),
    "subprocess.Popen.wait": ("timeout", 0),
    "subprocess.Popen.communicate": ("timeout", 1),
    "socket.socket.accept": None,
    "socket.socket.recv": None,
    "socket.socket.recvfrom": None,
    "select.select": ("timeout", 3),
}
# Statements of drivers that block their thread, or (aiosqlite) one of their own.
QUERIES: frozenset[str] = frozenset(
    f"{kind}.{method}"
    for kind, methods in {
        "MySQLdb.Cursor": "execute executemany",
        "aiosqlite.Connection": "execute executemany execute_fetchall commit",
        "psycopg.Connection": "execute commit",
        "psycopg.Cursor": "execute executemany stream",
        "psycopg_pool.ConnectionPool": "connection getconn",
        "psycopg2.Connection": "commit",
        "psycopg2.Cursor": "execute executemany",
        "pymongo.collection.Collection": "aggregate count_documents distinct find_one"
        " insert_many insert_one update_many update_one delete_many delete_one",
        "pymysql.Cursor": "execute executemany",
        "redis.Redis": "blmove blpop brpop brpoplpush bzpopmax bzpopmin decr delete"
        " eval evalsha exists expire get getdel hdel hget hgetall hmget hset incr"
        " incrby keys llen lpop lpush lrange mget mset ping publish rpop rpush sadd set"
        " setex setnx smembers srem xack xadd xread xreadgroup zadd zrange",
        "redis.client.Pipeline": "execute",
        "redis.client.PubSub": "get_message listen",
        "redis.lock.Lock": "acquire",
        "sqlalchemy.Connection": "execute exec_driver_sql scalar scalars commit",
        "sqlalchemy.orm.Session": "execute scalar scalars commit flush get refresh",
        "sqlite3.Connection": "execute executemany executescript commit",
        "sqlite3.Cursor": "execute executemany executescript",
    }.items()
    for method in methods.split()
)
# HTTP and other calls to the net that block their thread.
_VERBS = ("get", "post", "put", "patch", "delete", "head", "options", "request")
CALLS: frozenset[str] = frozenset(
    [f"{kind}.{verb}" for kind in ("requests", "httpx", "httpx2") for verb in _VERBS]
    + [f"requests.Session.{verb}" for verb in (*_VERBS, "send")]
    + [
        f"{kind}.Client.{verb}"
        for kind in ("httpx", "httpx2")
        for verb in (*_VERBS, "send", "stream")
    ]
    + ["urllib.request.urlopen", "urllib3.PoolManager.request"]
    + ["http.client.HTTPConnection.request", "http.client.HTTPSConnection.request"]
    + ["http.client.HTTPConnection.getresponse"]
)


def is_bounded(call: ast.Call, bound: Bound) -> bool:
    """Whether a call says how long it may take (or not to wait at all)."""
    if bound is None:
        return False
    keyword, at = bound
    for given in call.keywords:
        if given.arg is None:
            return True  # **kwargs may hold it
        if given.arg == keyword:
            return not _is(given.value, None)
        if given.arg in {"block", "blocking"} and _is(given.value, False):
            return True
    if any(isinstance(arg, ast.Starred) for arg in call.args):
        return True
    if at in {1, 2} and call.args and _is(call.args[0], False):
        return True  # get(False), acquire(False)
    return 0 <= at < len(call.args) and not _is(call.args[at], None)


def blocks(call: ast.Call, callee: str) -> bool:
    """Whether a call waits, with a limit or without."""
    if callee in QUERIES or callee in CALLS:
        return True
    if callee not in WAITS:
        return False
    return not any(
        given.arg in {"block", "blocking"} and _is(given.value, False)
        for given in call.keywords
    )


def _is(node: ast.AST, value: object) -> bool:
    return isinstance(node, ast.Constant) and node.value is value

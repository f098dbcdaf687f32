"""`tether top`: the live page of a process in a terminal, what grows at the top."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..debug._sockets import of, processes
from ..debug._text import duration, growth, plain

_PATH = "/debug/tether.json"
_PORT = 6060
_APART = 1.0  # seconds between two looks, so that there is a growth
_NOBODY = "no process of this user has a live page: call tether.debug.serve() in it"
_NO_SOCKET = (
    "no live page of process {pid} is found: call tether.debug.serve() in it; or name "
    "its HOST:PORT, or the socket that it was given as path="
)
_FOLDERS = tuple(f"{start}{os.sep}" for start in ("", ".", ".."))  # as paths begin
_MANY = "several processes have a live page, name one: {pids}"


@click.command()
@click.argument("target", required=False, metavar="[HOST:PORT | URL | PID | SOCKET]")
@click.option(
    "--once", is_flag=True, help="Print one look, with the growth of a second, and end."
)
@click.option("--json", "as_json", is_flag=True, help="The same as JSON.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2, max=60.0),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
)
@click.option("--token", envvar="TETHER_DEBUG_TOKEN", help="For a page that wants one.")
def top(
    target: str | None, once: bool, as_json: bool, interval: float, token: str | None
) -> None:
    """Show what a process waits for, and who holds it.

    Without an argument, that of the one process on this machine whose
    tether.debug.serve() has been called by this user.
    """
    target = target or _only()
    console = Console(highlight=False)
    if as_json:
        click.echo(json.dumps(_ask(target, token, _APART)))
        return
    if once:
        console.print(_screen(_ask(target, token, _APART), rows=1000))
        return
    try:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            while True:
                look = _ask(target, token)
                live.update(_screen(look, rows=console.height // 3), refresh=True)
                time.sleep(interval)
    except KeyboardInterrupt:
        return


def _only() -> str:
    if not hasattr(socket, "AF_UNIX"):
        raise click.UsageError("name the process: HOST:PORT")
    found = processes()
    if not found:
        raise click.ClickException(_NOBODY)
    if len(found) > 1:
        raise click.UsageError(_MANY.format(pids=", ".join(map(str, found))))
    return str(next(iter(found.values())))


def _ask(target: str, token: str | None, seconds: float = 0.0) -> dict[str, Any]:
    connection, given = _connection(target)
    token = token or given
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    try:
        path = f"{_PATH}?seconds={seconds:g}" if seconds else _PATH
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        said = getattr(error, "strerror", None) or str(error)
        raise click.ClickException(f"no live page at {target}: {said}") from None
    finally:
        connection.close()
    if answer.status != 200:
        said = body.decode("utf-8", "replace").strip()
        raise click.ClickException(f"{target} answers {answer.status}: {said}")
    return json.loads(body)  # type: ignore[no-any-return]


def _connection(target: str) -> tuple[http.client.HTTPConnection, str | None]:
    """To the page, and the token that a URL has."""
    if target.isdigit():
        path = of(int(target)) if hasattr(socket, "AF_UNIX") else None
        if path is None:
            raise click.ClickException(_NO_SOCKET.format(pid=target))
        return _Unix(path), None
    if target.startswith("unix:"):
        return _Unix(Path(target.removeprefix("unix:"))), None
    url = target if "://" in target else f"http://{target}"
    if url == target or not (Path(target).exists() or target.startswith(_FOLDERS)):
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or _PORT
        except ValueError as error:
            raise click.UsageError(f"{target} is not a URL: {error}") from None
        if parts.scheme != "http" or not host:
            raise click.UsageError(f"{target} is not a URL of http")
        token = parse_qs(parts.query).get("token", [None])[-1]
        return http.client.HTTPConnection(host, port, timeout=30), token
    return _Unix(Path(target)), None


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _screen(look: dict[str, Any], rows: int) -> Group:
    head = Text.assemble(
        (f"pid {look['pid']}", "bold"),
        f"  up {duration(look['up'])}  {look['program']}\n",
        (f"{look['task_count']:,} tasks", "bold"),
        f" {growth(look['growth'])}  {look['context_count']:,} contexts  ",
        (
            f"{look['over_count']:,} over but still running",
            "bold red" if look["over_count"] else "",
        ),
        f"  {look['thread_count']} threads",
    )
    for loop in look["loops"]:
        if loop["stuck"]:
            said = f"\nloop in {loop['thread']} stuck for {duration(loop['lag'])}"
            said += plain(f" at {loop['at']}, task {loop['task']}")
            head.append(said, "bold red")
    table = Table(expand=True, box=None)
    for name in ("root", "open", "growth", "oldest", "waits for", "where"):
        right = name in {"open", "growth", "oldest"}
        table.add_column(
            name, justify="right" if right else "left", no_wrap=right, overflow="fold"
        )
    for group in look["tasks"][:rows]:
        where = " > ".join(f"{one['function']}:{one['line']}" for one in group["stack"])
        table.add_row(
            Text(plain(group["root"]), "bold"),
            f"{group['count']:,}",
            growth(group["growth"]),
            duration(group["oldest"]),
            Text(plain(group["waits"])),
            Text(plain(where)),
        )
    lines = []
    for one in look["resources"][:rows]:
        lines.append(f"{one['name']}: {one['waiting']:,} wait, {one['state']}")
        lines += [
            f"  held by {who['count']:,} {who['root']}, {who['name']}, {who['at']}"
            for who in one["holders"][:5]
        ]
    return Group(head, table, *(Text(plain(line)) for line in lines))

"""`tether top`: the live page of a process in a terminal, what grows at the top."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..debug._sockets import folder, processes
from ..debug._text import duration, growth, plain

_PATH = "/debug/tether.json"
_NOBODY = "no process of this user has a live page: call tether.debug.serve() in it"
_MANY = "several processes have a live page, name one: {pids}"


@click.command()
@click.argument("target", required=False, metavar="[HOST:PORT | PID | SOCKET]")
@click.option("--once", is_flag=True, help="Print one look, and end.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one look as JSON, and end."
)
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
        click.echo(json.dumps(_ask(target, token)))
        return
    if once:
        console.print(_screen(_ask(target, token), rows=1000))
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


def _ask(target: str, token: str | None) -> dict[str, Any]:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    connection: http.client.HTTPConnection
    host, colon, port = target.rpartition(":")
    if target.isdigit():
        connection = _Unix(folder() / f"{target}.sock")
    elif colon and port.isdigit() and os.sep not in target:
        connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=10)
    else:
        connection = _Unix(Path(target))
    try:
        connection.request("GET", _PATH, headers=headers)
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


class _Unix(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=10)
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

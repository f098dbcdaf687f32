"""CTX202: a call to the net may wait forever."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from .._file import File
from .._finding import Found, Rule
from .._function import Function
from .._shapes import is_script
from .._waits import CALLS, Bound, is_bounded

# Where the limit stands: its keyword and its position (-1: by keyword only).
# requests.get and httpx are ruff's (S113).
_CALLS: dict[str, Bound] = {
    "ftplib.FTP": ("timeout", 4),
    "http.client.HTTPConnection": ("timeout", 2),
    "http.client.HTTPSConnection": ("timeout", 2),
    "imaplib.IMAP4": ("timeout", 2),
    "imaplib.IMAP4_SSL": ("timeout", -1),
    "poplib.POP3": ("timeout", 2),
    "smtplib.SMTP": ("timeout", 3),
    "smtplib.SMTP_SSL": ("timeout", 5),
    "socket.create_connection": ("timeout", 1),
    "urllib.request.urlopen": ("timeout", 2),
}
_VERBS = ("get", "post", "put", "patch", "delete", "head", "options", "request")
_CALLS |= {f"requests.Session.{verb}": ("timeout", -1) for verb in _VERBS}
_LASTS = sorted({name.rpartition(".")[2] for name in _CALLS})


def check(file: File) -> Iterator[Found]:
    """Report clients and calls that are given no time limit."""
    for call, function, callee in file.calls(*_LASTS):
        bound = _CALLS.get(callee)
        if bound is None or is_bounded(call, bound) or _default_is_set(file):
            continue
        if callee in CALLS and file.given(function):
            continue  # CTX206
        if not (call.args or call.keywords):
            continue  # not connected yet; connect() may have it
        name = callee.rpartition(".")[2] if "Session" in callee else callee
        if callee.startswith("requests.Session") and _has_adapter(file):
            continue
        if is_script(file, call) or _opens_data(call, function):
            continue
        yield Found(
            call,
            f"{name}() waits as long as the other side likes: give it timeout=",
        )
    yield from _stubs(file)


def _default_is_set(file: File) -> bool:
    return "setdefaulttimeout" in file.module.calls


def _has_adapter(file: File) -> bool:
    """Whether a session has an adapter, which may hold the limit."""
    return "mount" in file.module.calls


def _opens_data(call: ast.Call, function: Function) -> bool:
    """Whether it only decodes a `data:` URL, for which there is no other side."""
    if isinstance(function.node, ast.Module):
        return False
    said = function.name + "".join(ast.unparse(arg) for arg in call.args[:1])
    return bool(re.search(r"(?<![a-z])data_?ur[il]", said, re.IGNORECASE)) or any(
        isinstance(part, ast.Constant) and str(part.value).startswith("data:")
        for part in ast.walk(function.node)
    )


def _stubs(file: File) -> Iterator[Found]:
    """Calls of gRPC stubs: without a limit they wait for good."""
    if "grpc" not in file.module.text:
        return
    for call, function, callee in file.every_call():
        if file.given(function):
            continue  # CTX206
        service, _, method = callee.rpartition(".")
        if not service.endswith("Stub") or "_pb2_grpc." not in service:
            continue
        if "stream" in ast.unparse(file.module.statement(call)).lower():
            continue  # it is there to stay
        if is_script(file, call):
            continue
        if not is_bounded(call, ("timeout", 1)) and method[:1].isupper():
            yield Found(
                call, f"{method}() waits as long as the server likes: give it timeout="
            )


RULE = Rule(
    code="CTX202",
    name="no-time-limit",
    says="a client or a call to the net is given no time limit",
    why="""\
These wait forever by default: `requests` sessions, `urllib`, `http.client`, sockets,
mail, gRPC stubs. One silent peer, and every thread of the service hangs in this
line. Where there is a context, pass what is left: `timeout=min(10.0,
ctx.remaining())`. (Calls of `requests.get` and `httpx` are ruff's: S113. What stands
under `if __name__ == "__main__":` has somebody in front of it.)""",
    bad="""\
import urllib.request

def fetch(url: str) -> bytes:
    return urllib.request.urlopen(url).read()
""",
    good="""\
import urllib.request

def fetch(url: str) -> bytes:
    return urllib.request.urlopen(url, timeout=5.0).read()
""",
    check=check,
    everywhere=True,
)

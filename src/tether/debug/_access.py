"""Who may look: where the page may listen, and which requests are answered."""

from __future__ import annotations

import hmac
import ipaddress
from email.message import Message

_OPEN_TO_ALL = (
    "the live page shows the inside of the process: for {host!r}, which others can "
    "reach, give it a token= of 16 characters or more, or listen on 127.0.0.1"
)
TOKEN_LENGTH = 16


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check(host: str, token: str | None) -> None:
    """Refuse a place that is open to all; `ValueError`."""
    if token is not None and len(token) < TOKEN_LENGTH:
        raise ValueError(f"a token has {TOKEN_LENGTH} characters or more")
    if token is None and not is_loopback(host):
        raise ValueError(_OPEN_TO_ALL.format(host=host))


def refused(
    headers: Message, token: str | None, given: str | None, port: int
) -> tuple[int, str] | None:
    """The status and the reason to refuse a request with; None: it is answered.

    A page of somebody else's, whose name was made to point to this machine, sends that
    name: without a token only the names of this machine are answered.
    """
    if token is not None:
        bearer = headers.get("Authorization") or ""
        got = bearer.removeprefix("Bearer ") if bearer else given or ""
        if not hmac.compare_digest(got.encode(), token.encode()):
            return 401, (
                "the token is missing or wrong: Authorization: Bearer TOKEN, or ?token="
            )
        return None
    host = headers.get("Host") or ""
    name, _, behind = host.rpartition(":")
    if not behind.isdigit():
        name, behind = host, str(port)
    if not is_loopback(name.strip("[]")):
        return 403, (
            f"this page is for this machine only, not for {host!r}: ask for 127.0.0.1, "
            "as by kubectl port-forward, or have it served with a token="
        )
    return None

"""The context stands somewhere behind."""
from tether import Context, Scope


def charge(amount: int, ctx: Context) -> None: ...  # error: CTX103


async def fetch(url: str, budget: "Context", retries: int = 3) -> bytes: ...  # error: CTX103


class Repository:
    def find(self, user: int, ctx: Context) -> None: ...  # error: CTX103

    @staticmethod
    def open(name: str, ctx: Context) -> None: ...  # error: CTX103

    # Right:

    def load(self, ctx: Context, user: int) -> None: ...

    def __init__(self, name: str, ctx: Context) -> None: ...


def own(name: str, work: Scope) -> None: ...


def _assign(request: object, ctx: Context) -> None: ...


def merge(a: Context, b: Context) -> Context: ...


def serve(name: str, *, ctx: Context) -> None: ...


@route("/users")
def handler(request: object, ctx: Context) -> None: ...


def outer() -> None:
    def inner(name: str, ctx: Context) -> None: ...

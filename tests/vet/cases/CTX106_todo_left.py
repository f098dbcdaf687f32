"""todo() is a note to oneself."""
import tether
from tether import background, todo


def nightly() -> None:
    report(todo())  # error: CTX106
    report(tether.todo())  # error: CTX106
    report(background())


class Board:
    def todo(self) -> None: ...


def other(board: Board) -> None:
    board.todo()

"""The supervisor of the pods: starts them, limits their memory, restarts them.

The limit is on what a pod has in memory (RSS), looked at ten times a second; whoever is
above is killed, as a container's limit does it. RLIMIT_AS would limit addresses, most
of which nobody uses, and would end in a MemoryError somewhere in the pod, not in a
kill.
"""

from __future__ import annotations

from collections.abc import Callable

from demo.processes import Child
from tether import Context

LOOK = 0.1
PAUSE = 3.0  # before a restart; Kubernetes begins with 10 s


class Pod:
    """One pod: the process that it is now, and those that it was."""

    def __init__(
        self, number: int, port: int, start: Callable[[], Child], limit: float
    ) -> None:
        self.number = number
        self.port = port
        self.limit = limit
        self.child: Child | None = None
        self.memory = 0  # bytes, at the last look
        self._start = start
        self._wanted = True

    async def watch(self, ctx: Context, tell: Callable[[str, str], None]) -> None:
        """Keep it running, below its limit, until `stop`."""
        while self._wanted:
            child = self.child = self._start()
            tell("started", f"pod {self.number} starts")
            while not child.is_over():
                self.memory = child.memory()
                if self.memory > self.limit:
                    child.kill()
                    tell("killed", f"pod {self.number} killed{self._used()}")
                    break
                await ctx.sleep_async(LOOK)
            else:
                how = "crashed" if self._wanted else "stopped"
                tell(how, f"pod {self.number} {how}")
            self.child, self.memory = None, 0
            if self._wanted:
                await ctx.sleep_async(PAUSE)

    def _used(self) -> str:
        used, limit = self.memory / 2**20, self.limit / 2**20
        return f": it uses {used:.0f} MiB of {limit:.0f}"

    def stop(self) -> None:
        """SIGTERM, and no restart."""
        self._wanted = False
        if self.child is not None:
            self.child.terminate()

    async def stopped(self, ctx: Context) -> None:
        """Wait until it has ended after `stop`."""
        while self.child is not None:
            await ctx.sleep_async(LOOK)

    def end(self) -> None:
        """Kill it, if it is there."""
        self._wanted = False
        if self.child is not None and not self.child.is_over():
            self.child.kill()

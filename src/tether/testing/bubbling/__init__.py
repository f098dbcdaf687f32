"""bubble: a test in which all time is virtual, as in Go's testing/synctest.

_clock        the clock: who is inside, and how the test's own waits move it
_guard        who moves it while the test waits in something real
_replaced     names and methods that mean something else meanwhile:
_times        the modules time and datetime
_threads      the waits of threading
_loops        the event loops of asyncio
_bubble       the public names
"""

from ._bubble import Bubble as Bubble
from ._bubble import Unfinished as Unfinished
from ._bubble import bubble as bubble
from ._bubble import wait as wait
from ._bubble import wait_async as wait_async

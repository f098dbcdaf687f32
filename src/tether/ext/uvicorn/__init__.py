"""uvicorn: a limit for slow heads, and a stop that drops nothing it has accepted.

    status = serve(make_app, port=8000)                # what `tether serve` calls
    uvicorn.run(app, http=header_timeout(5.0))         # the limit alone

For the order in which a service stops see `tether.ext.asgi.Service`, which works under
plain `uvicorn app` as well.
"""

from ._heads import header_timeout
from ._server import serve

__all__ = ["header_timeout", "serve"]

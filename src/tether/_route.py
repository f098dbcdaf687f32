"""What a request is called once a framework has found its route: `GET /carts/{id}`.

Where the context is made before that, as under WSGI, it begins with the name that the
path gives, and is named anew. What was derived from it meanwhile has the new name, too.
"""

from __future__ import annotations

import re

from ._describe import LABEL
from ._scope import Scope

# In a WSGI environment and in Django's META: the context of the request.
CONTEXT = "tether.context"

# As Flask and Django write a parameter, <int:id>; not the (?P<id>...) of an expression.
_PARAMETER = re.compile(r"(?<!\?P)<(?:[^<>]*:)?([^<>:]+)>")
_NAMED = r"{\1}"


def name_by_route(scope: Scope, method: str, mount: str, route: str | None) -> None:
    """Give a request, whose scope has a label, the name of its route.

    `mount` is what stands before `route`, both as in a path. Without a route, because
    none matches, it is the method alone: there is no end to the paths that strangers
    try, and each would be a name.
    """
    link = scope._values
    while link is not None and link.key is not LABEL:
        link = link.next
    if link is None:
        return
    if route is None:
        link.value = method
    else:
        link.value = f"{method} {mount}{_PARAMETER.sub(_NAMED, route)}"

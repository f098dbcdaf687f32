"""How the pages are built: python dev.py docs."""

from __future__ import annotations

from importlib.metadata import version as version_of

from sphinx.application import Sphinx

import tether

project = "tether"
author = "the tether authors"
project_copyright = "2026, the tether authors"
version = release = version_of("tether")

# `name` in a docstring is code.
default_role = "code"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["colon_fence", "deflist", "fieldlist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "tether"
html_copy_source = False

# A class is documented with its members, in the order of the source.
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

# Our own references must resolve, those to private names aside. Those to the standard
# library cannot: its inventory would have to be fetched from elsewhere at each build.
nitpick_ignore_regex = [("py:.*", r"(?!tether\b).*|tether\.(?:.*\.)?_.*")]

# Users know the public names, not the modules in which they happen to be written.
for _name in tether.__all__:
    _item = getattr(tether, _name)
    if getattr(_item, "__module__", "").startswith("tether."):
        _item.__module__ = "tether"


def public_bases(
    _app: Sphinx, _name: str, cls: type, _options: object, bases: list[type]
) -> None:
    """Name the public class behind a private base."""
    if any(base.__name__.startswith("_") for base in bases):
        public = (c for c in cls.__mro__[1:] if c.__name__ in tether.__all__)
        bases[:] = [next(public, object)]


def setup(app: Sphinx) -> None:
    """Called by Sphinx when it starts."""
    app.connect("autodoc-process-bases", public_bases)

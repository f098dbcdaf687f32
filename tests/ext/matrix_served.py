"""What the servers of the matrix are told to serve; not imported by the tests."""

from __future__ import annotations

from tests.ext.matrix_apps import Everything

app = Everything()

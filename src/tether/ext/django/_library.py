"""The library itself."""

from __future__ import annotations

try:
    import django
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.django needs Django: pip install "tether[django]"', name="django"
    ) from None

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.db import DEFAULT_DB_ALIAS, Error, close_old_connections, connections
from django.db.transaction import TransactionManagementError, atomic

__all__ = [
    "DEFAULT_DB_ALIAS",
    "Error",
    "TransactionManagementError",
    "atomic",
    "close_old_connections",
    "connections",
    "django",
    "iscoroutinefunction",
    "markcoroutinefunction",
    "sync_to_async",
]

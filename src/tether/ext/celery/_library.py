"""The library itself."""

try:
    from celery import Signature, Task, signals
    from celery.backends.base import DisabledBackend
    from celery.exceptions import Ignore
    from celery.result import AsyncResult, EagerResult, task_join_will_block
    from celery.states import REVOKED
    from celery.utils.time import maybe_make_aware
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.celery needs Celery: pip install "tether[celery]"', name="celery"
    ) from None

__all__ = [
    "REVOKED",
    "AsyncResult",
    "DisabledBackend",
    "EagerResult",
    "Ignore",
    "Signature",
    "Task",
    "maybe_make_aware",
    "signals",
    "task_join_will_block",
]

"""A cluster on this machine that leaves nothing behind in this process."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import distributed.utils
from distributed import LocalCluster


@contextmanager
def local(workers: int, threads: int, *, processes: bool) -> Iterator[LocalCluster]:
    try:
        with LocalCluster(
            n_workers=workers,
            threads_per_worker=threads,
            processes=processes,
            dashboard_address="127.0.0.1:0",  # else 8787, which another run may have
            silence_logs=50,
        ) as cluster:
            yield cluster
    finally:
        # Dask has one for the process and never ends it.
        offload = distributed.utils._offload_executor
        distributed.utils._offload_executor = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="Dask-Offload"
        )
        offload.shutdown()

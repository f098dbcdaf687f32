"""What the sweep has found, shown without it: asyncio alone, and one `task.cancel()`.

Each script has `shown()`, which says what is lost, or "" if nothing is, and can be run:
`python -m bench.packages.confirm.asyncio_condition`.
"""

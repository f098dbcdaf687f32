"""The library itself."""

try:
    import dask  # which distributed is of
    import distributed
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.dask needs Dask\'s distributed: pip install "tether[dask]"',
        name="distributed",
    ) from None

__all__ = ["dask", "distributed"]

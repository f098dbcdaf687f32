"""The library itself."""

try:
    import distributed
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.dask needs Dask\'s distributed: pip install "tether[dask]"',
        name="distributed",
    ) from None

__all__ = ["distributed"]

"""The library itself."""

try:
    import grpc
    import grpc.aio
except ModuleNotFoundError:
    raise ModuleNotFoundError(
        'tether.ext.grpc needs grpcio: pip install "tether[grpc]"', name="grpc"
    ) from None

__all__ = ["grpc"]

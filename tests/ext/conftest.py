"""Fixtures of the integrations' tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.databases import server as postgres
from tests.ext import redis_server
from tests.ext.tracing import Traced
from tests.ext.upstream import Authority, Upstream, upstream


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Signs for localhost, and is trusted by those who are told."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def up() -> Iterator[Upstream]:
    """A server that answers badly."""
    with upstream() as server:
        yield server


@pytest.fixture(params=["http", "https"])
def any_up(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Upstream]:
    """The same, without and with TLS."""
    tls = authority.server if request.param == "https" else None
    with upstream(tls) as server:
        yield server


@pytest.fixture(scope="session", name="postgres")
def _postgres() -> postgres.Server:
    """A PostgreSQL."""
    return postgres.server()


@pytest.fixture(scope="session", name="redis_server")
def _redis_server() -> redis_server.Server:
    """A Redis server, started once; whoever uses it empties it."""
    return redis_server.server()


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    traced.provider.shutdown()

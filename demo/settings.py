"""What the services are told when they start."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Where the things are that a gateway needs."""

    database: str = "shop.db"
    upstream: str = "http://127.0.0.1:8001"

"""The load benchmark in small: a server that is killed in mid-work loses, doubles and over-assigns nothing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from benchmarks.labelling import Size, measure

from .feedback_stores import cluster, empty_database, migrated, sqlite_url, url

__all__ = ["cluster", "empty_database", "migrated", "sqlite_url", "url"]


@pytest.mark.slow
def test_nothing_is_lost_doubled_or_given_twice(url: str, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    database = url if url.startswith("postgresql") else None
    found = measure(tmp_path / "w", Size(labelers=5, tasks=12, overlap=3, kills=1), port=port, database=database)
    assert found["wrong"] == dict.fromkeys(found["wrong"], 0)
    assert found["submitted"] == 36
    assert found["interrupted_requests"]  # the kill was felt

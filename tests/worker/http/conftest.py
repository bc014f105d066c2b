"""The stand-ins of these tests."""

from tests.worker.http.posting import run

__all__ = ["run"]

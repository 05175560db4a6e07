"""Simulated logs."""

from simulated_logs import frame, made, pair  # noqa: F401 (fixtures)

"""Numbers out: the Prometheus text."""

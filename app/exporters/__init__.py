"""What is known, on its way out: the Prometheus text, and documents for Elasticsearch."""

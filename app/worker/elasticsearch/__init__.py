"""Documents and windows on their way to Elasticsearch."""

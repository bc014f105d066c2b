"""Elasticsearch: its client, templates and writes."""

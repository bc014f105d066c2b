"""The Grafana dashboards as code: `python -m k8s.dashboards` writes the JSON files beside it."""

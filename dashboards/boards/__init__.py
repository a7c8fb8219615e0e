"""Grafana dashboard files, rendered by the viewer: the same files, queries and addresses, without Grafana."""

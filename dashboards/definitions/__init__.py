"""The dashboards: a file for each, with the SQL of its panels beside it. Definitions in, Grafana's files out."""

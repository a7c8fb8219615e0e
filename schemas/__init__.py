"""Contracts, pure: OTLP wire and columns, the log, tables, rollups, errors, settings, our metric catalogue."""

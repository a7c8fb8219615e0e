"""Contracts, pure: no I/O. OTLP wire and columns, the log, tables, rollups, the ledger, errors, our metric catalogue."""

"""OTLP in, log out: receivers, admission, validation, and the log's writing side."""

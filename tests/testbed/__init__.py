"""Real parts from elsewhere that the tests and benchmarks run against: a Kafka broker, an OpenTelemetry Collector.

Both `tests` and `bench` import from here, and this imports from neither. Nothing of it is part of the product.
"""

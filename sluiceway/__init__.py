"""The only wiring: CLI, configuration, self-telemetry, the embedded all-in-one, the demo."""

"""Configurations of OpenTelemetry Collectors that send to this deployment."""

"""What a receiver says, as templates that Alertmanager and Grafana both fill in."""

from __future__ import annotations

SUMMARY = "{{ .CommonAnnotations.summary }} {{ .CommonAnnotations.culprit }}"
LINKS = "{{ .CommonAnnotations.runbook_url }} {{ .CommonAnnotations.dashboard_url }} {{ .CommonAnnotations.trace_url }}"


def literal(text: str) -> str:
    """Text of people inside a template: what looks like an action of it stays text."""
    return text.replace("{{", '{{ "{{" }}')

"""A thin layer over grafana-foundation-sdk: what it lacks for ClickHouse, and panel ids that stay the same."""

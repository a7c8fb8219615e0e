CREATE VIEW IF NOT EXISTS {database}.otel_metrics_exp_histogram AS
SELECT * FROM {database}.otel_metrics_exponential_histogram

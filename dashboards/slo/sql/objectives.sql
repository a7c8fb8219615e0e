objectives AS
(
    SELECT of.slo AS slo, of.service AS service, of.tenant AS tenant, of.environment AS environment,
        of.operation AS operation, of.kinds AS kinds, of.fast_below AS fast_below, of.target AS target,
        of.period_s AS period_s, of.min_failures AS min_failures, of.pairs AS pairs,
        if(of.fast_below < 0, 'failures', 'latency') AS indicator
    FROM (SELECT arrayJoin({objectives}) AS of)
)

SELECT uniqExact(TenantId, ServiceName) AS services FROM spans_1m WHERE $__timeFilter(Time)

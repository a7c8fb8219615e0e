        -- Calls into a service are its server and consumer spans; a service that has none is judged by all its spans.
        AND (SpanKind IN ('Server', 'Consumer') OR ServiceName NOT IN (
            SELECT ServiceName FROM spans_1m
            WHERE Time >= toDateTime({from_s:UInt32}) AND Time < toDateTime({to_s:UInt32}) AND SpanKind IN ('Server', 'Consumer')))

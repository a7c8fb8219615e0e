-- Spans of a shop: every request crosses all services. Rates follow the hour and the day of the week, durations are
-- log-normal, one call in 500 fails by itself. What is in braces, the script of the simulation sets.
INSERT INTO otel_traces (Timestamp, TraceId, SpanId, ParentSpanId, SpanName, SpanKind, ServiceName, ServiceVersion,
    Environment, ResourceAttributes, SpanAttributes, Duration, StatusCode, StatusMessage)
WITH
    (salt, share) -> cityHash64(request, salt) % 1000000 < share * 1000000 AS chance,
    -- A sum of uniform numbers is nearly normal.
    (salt, median_ms) -> median_ms * exp(0.4 * (arraySum(i -> cityHash64(request, salt, i) % 1000 / 1000, range(6)) - 3))
        AS lasts_ms
SELECT
    fromUnixTimestamp64Nano(toInt64(at_ns + span.6 * 1000000)) AS Timestamp, lower(hex(sipHash128(request))),
    lower(hex(sipHash64(request, span.1))), if(span.2 = 0, '', lower(hex(sipHash64(request, span.2)))),
    span.5, span.4, span.3, version, 'prod',
    map('service.name', span.3, 'service.version', version, 'deployment.environment.name', 'prod',
        'cloud.availability_zone', zone, 'host.name', concat(span.3, '-', toString(1 + request % 3))),
    mapFromArrays(splitByChar(',', span.10), splitByChar(',', span.11)), toUInt64(span.7 * 1000000),
    if(span.8, 'Error', 'Unset'), if(span.8, span.9, '')
FROM
(
    SELECT request, at_ns, zone, t, [
        (1, 0, 'frontend', 'Server', 'POST /order', 0., shop_ms, shop_failed, checkout_says, 'http.route', '/order'),
        (2, 1, 'frontend', 'Client', 'checkout', 2., checkout_ms + 2, checkout_failed, checkout_says, 'rpc.system', 'grpc'),
        (3, 2, 'checkout', 'Server', 'PlaceOrder', 3., checkout_ms, checkout_failed, checkout_says, 'rpc.system', 'grpc'),
        (4, 3, 'checkout', 'Client', 'cart', 4., cart_ms + 2, cart_failed, 'cart failed', 'rpc.system', 'grpc'),
        (5, 4, 'cart', 'Server', 'GetCart', 5., cart_ms, cart_failed, 'cart failed', 'rpc.system', 'grpc'),
        (6, 5, 'cart', 'Client', 'GET', 6., db_ms, false, '', 'db.system.name,db.namespace', 'redis,carts'),
        (7, 3, 'checkout', 'Client', 'payment', 5., payment_ms + 2, payment_failed, payment_says, 'rpc.system', 'grpc'),
        (8, 7, 'payment', 'Server', 'Charge', 6., payment_ms, payment_failed, payment_says, 'rpc.system', 'grpc'),
        (9, 8, 'payment', 'Client', 'POST', 7., bank_ms, bank_failed, 'connection refused', 'server.address', 'api.bank.example'),
        (10, 3, 'checkout', 'Client', 'shipping', 9., shipping_ms + 2, shipping_failed, shipping_says, 'rpc.system', 'grpc'),
        (11, 10, 'shipping', 'Server', 'Quote', 10., shipping_ms, shipping_failed, shipping_says, 'rpc.system', 'grpc'),
        (12, 11, 'shipping', 'Client', 'POST', 11., label_ms, label_failed, 'x509: certificate has expired',
            'server.address', 'labels.carrier.example'),
        (13, 3, 'checkout', 'Producer', 'send orders', 12., 1., false, '', 'messaging.system,messaging.destination.name',
            'kafka,orders'),
        (14, 13, 'email', 'Consumer', 'process orders', 80., lasts_ms(14, 9), chance(114, 0.002), 'mailbox unknown',
            'messaging.system,messaging.destination.name', 'kafka,orders')
    ] AS spans
    FROM
    (
        SELECT request, at_ns, zone, t,
            lasts_ms(1, 20) + checkout_ms AS shop_ms,
            lasts_ms(3, 15) + cart_ms + payment_ms + shipping_ms AS checkout_ms,
            lasts_ms(6, 1) AS db_ms, lasts_ms(5, 4) + db_ms AS cart_ms,
            lasts_ms(9, 60) AS bank_ms, lasts_ms(8, 20) + bank_ms + {payment_slower_ms} AS payment_ms,
            lasts_ms(12, 30) AS label_ms, lasts_ms(11, 10) + label_ms AS shipping_ms,
            chance(109, {bank_fails}) AS bank_failed, chance(112, {label_fails}) AS label_failed,
            chance(105, 0.002) AS cart_failed,
            chance(108, 0.002) OR bank_failed AS payment_failed,
            chance(111, {shipping_fails}) OR label_failed AS shipping_failed,
            cart_failed OR payment_failed OR shipping_failed OR chance(103, 0.002) AS checkout_failed,
            checkout_failed OR chance(101, 0.001) AS shop_failed,
            if(bank_failed, 'bank does not answer', 'card refused') AS payment_says,
            if(label_failed, 'no label', 'upstream timeout') AS shipping_says,
            multiIf(payment_failed, payment_says, shipping_failed, shipping_says, 'internal') AS checkout_says
        FROM
        (
            SELECT cityHash64(minute_s, i) AS request, minute_s * 1000000000 + cityHash64(request, 7) % 60000000000 AS at_ns,
                intDiv(at_ns, 1000000000) AS t, ['eu-1a', 'eu-1b', 'eu-1c'][1 + request % 3] AS zone
            FROM
            (
                SELECT toUInt64({from_s} + 60 * number) AS minute_s,
                    30 * (1 + 0.6 * sin((minute_s % 86400 / 3600 - 9) / 24 * 2 * pi()))
                        * if(toDayOfWeek(toDateTime(minute_s, 'UTC')) > 5, 0.6, 1) AS rate,
                    toUInt64(greatest(rate + sqrt(rate) * (arraySum(k -> cityHash64(minute_s, k) % 1000 / 1000, range(12)) - 6), 1))
                        AS requests
                FROM numbers({minutes})
            )
            ARRAY JOIN range(requests) AS i
        )
        WHERE NOT ({away})
    )
)
ARRAY JOIN spans AS span
ARRAY JOIN [multiIf({versions} '1.0.0')] AS version
WHERE NOT (span.3 = 'email' AND {email_away})

coalesce(
    nullIf(SpanAttributes.values[indexOf(SpanAttributes.keys, 'peer.service')], ''),
    nullIf(SpanAttributes.values[indexOf(SpanAttributes.keys, 'server.address')], ''),
    nullIf(SpanAttributes.values[indexOf(SpanAttributes.keys, 'net.peer.name')], ''),
    nullIf(domain(SpanAttributes.values[indexOf(SpanAttributes.keys, 'url.full')]), ''),
    domain(SpanAttributes.values[indexOf(SpanAttributes.keys, 'http.url')])
)

INNER JOIN objectives ON objectives.service = cell.ServiceName
WHERE cell.TenantId = tenant AND has(kinds, cell.SpanKind) AND (environment = '' OR cell.Environment = environment)
    AND (operation = '' OR cell.SpanName = operation)

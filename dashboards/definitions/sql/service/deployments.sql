SELECT Time AS time, ServiceVersion AS title, concat('before: ', PreviousVersion) AS text,
    if(Returned, 'rollback', 'deployment') AS tags
FROM deployments(from = $__fromTime, to = $__toTime)
WHERE ServiceName = ${service:singlequote}
ORDER BY time

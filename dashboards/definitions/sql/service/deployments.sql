SELECT Time AS time, ServiceVersion AS title, concat('before: ', PreviousVersion) AS text,
    if(Returned, 'rollback', 'deployment') AS tags
FROM deployments(from = $__fromTime, to = $__toTime)
-- A service that is seen for the first time was not deployed, for all that is known.
WHERE PreviousVersion != '' AND ServiceName = ${service:singlequote}
ORDER BY time

SELECT Time AS time, concat(ServiceName, ' ', ServiceVersion) AS title,
    concat('before: ', PreviousVersion, if(Environment = '', '', concat(', in ', Environment))) AS text,
    if(Returned, 'rollback', 'deployment') AS tags
FROM deployments(from = $__fromTime, to = $__toTime)
-- A service that is seen for the first time was not deployed, for all that is known.
WHERE PreviousVersion != ''
ORDER BY time

SELECT Time AS time, concat(ServiceName, ' ', ServiceVersion) AS title,
    concat('before: ', PreviousVersion, if(Environment = '', '', concat(', in ', Environment))) AS text,
    if(Returned, 'rollback', 'deployment') AS tags
FROM deployments(from = $__fromTime, to = $__toTime)
ORDER BY time

-- What interrupted the record in a window of time, to be marked in graphs: the
-- first heartbeat of each session, and the records that are gone.
CREATE OR REPLACE VIEW {{database}}.disruptions AS
SELECT timestamp, sensor_id, what, detail
FROM
(
    SELECT timestamp, sensor_id, 'start' AS what, concat('sensor ', ifNull(sensor_version, ''), ' started') AS detail, session, sequence
    FROM {{database}}.heartbeats
    WHERE heartbeat = 1 AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
        AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
    UNION ALL
    SELECT timestamp, sensor_id, 'gap' AS what, concat(toString(records), ' records are gone: ', cause) AS detail, session, sequence
    FROM {{database}}.gaps
    WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
        AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
)
ORDER BY timestamp, sensor_id, session, sequence
LIMIT 1 BY session, sequence;

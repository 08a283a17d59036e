-- Per session since a time: is every number that was given either stored or
-- named in a gap record? `unexplained` counts those that are neither, up to the
-- highest number seen. It is zero, but for what is still on its way.
CREATE OR REPLACE VIEW {{database}}.reconciliation AS
WITH
    stored AS
    (
        SELECT DISTINCT sensor_id, session, sequence
        FROM
        (
            SELECT sensor_id, session, sequence FROM {{database}}.events
            WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
            UNION ALL
            SELECT sensor_id, session, sequence FROM {{database}}.snapshot_connections
            WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
            UNION ALL
            SELECT sensor_id, session, sequence FROM {{database}}.snapshot_listeners
            WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
            UNION ALL
            SELECT sensor_id, session, sequence FROM {{database}}.snapshot_flows
            WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
            UNION ALL
            SELECT sensor_id, session, sequence FROM {{database}}.heartbeats
            WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
            UNION ALL
            SELECT sensor_id, session, sequence FROM {{database}}.gaps
            WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
            UNION ALL
            SELECT sensor_id, session, sequence FROM {{database}}.quarantine
            WHERE received >= {since:DateTime64(3, 'UTC')} AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
        )
    ),
    gone AS
    (
        -- 0 for the last: up to the end of the session, wherever that was.
        SELECT DISTINCT sensor_id, gap_session AS session, gap_first, if(gap_last = 0, 0x7FFFFFFFFFFFFFFF, gap_last) AS gap_end, gap_last
        FROM {{database}}.gaps
        WHERE timestamp >= {since:DateTime64(3, 'UTC')}
            AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
    ),
    -- A session that is older than `since` counts from its first heartbeat after it.
    begun AS
    (
        SELECT
            sensor_id, session,
            if(min(timestamp - toIntervalMillisecond(toInt64(uptime_secs * 1000))) >= {since:DateTime64(3, 'UTC')}, 0, min(sequence)) AS low
        FROM {{database}}.heartbeats
        WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
        GROUP BY sensor_id, session
    ),
    bounds AS
    (
        SELECT sensor_id, session, any(low) AS low, max(high) AS high
        FROM
        (
            SELECT sensor_id, session, max(sequence) AS high FROM stored GROUP BY sensor_id, session
            UNION ALL
            SELECT sensor_id, session, max(gap_last) AS high FROM gone GROUP BY sensor_id, session
        ) AS highest
        LEFT JOIN begun USING (sensor_id, session)
        GROUP BY sensor_id, session
    ),
    -- The ends stand as numbers of their own, so that a hole has two neighbours.
    marked AS
    (
        SELECT sensor_id, session, sequence
        FROM stored INNER JOIN bounds USING (sensor_id, session)
        WHERE sequence > low
        UNION ALL
        SELECT sensor_id, session, arrayJoin([low, high + 1]) AS sequence FROM bounds
    ),
    holes AS
    (
        SELECT sensor_id, session, before + 1 AS first, toUInt64(sequence - 1) AS last
        FROM
        (
            SELECT
                sensor_id, session, sequence,
                lagInFrame(sequence, 1, sequence) OVER (PARTITION BY sensor_id, session ORDER BY sequence
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) AS before
            FROM marked
        )
        WHERE sequence > before + 1 -- the first of a session has itself before it
    ),
    missing AS
    (
        SELECT sensor_id, session, sum(last - first + 1) AS missing FROM holes GROUP BY sensor_id, session
    ),
    explained AS
    (
        SELECT sensor_id, session, uniqExact(arrayJoin(range(greatest(first, gap_first), least(last, gap_end) + 1))) AS explained
        FROM holes INNER JOIN gone USING (sensor_id, session)
        WHERE gap_first <= last AND gap_end >= first
        GROUP BY sensor_id, session
    )
SELECT
    sensor_id, session,
    low + 1 AS first_sequence,
    high AS highest_sequence,
    toUInt64(high - low - missing) AS stored,
    explained AS gone,
    toUInt64(missing - explained) AS unexplained
FROM bounds
LEFT JOIN missing USING (sensor_id, session)
LEFT JOIN explained USING (sensor_id, session)
ORDER BY sensor_id, first_sequence, session;

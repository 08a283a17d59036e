-- Per session since a time: is every number that was given either stored or
-- named in a gap record? `unexplained` counts those that are neither, up to the
-- highest number seen. It is zero, but for what is still on its way. A session that
-- is older than `since` counts from its first heartbeat after it; of what follows, an
-- event that had begun more than ten minutes before `since` is not found.
CREATE OR REPLACE VIEW {{database}}.reconciliation AS
WITH
    -- How many of the numbers from first to last are in a block, which begins at base.
    (numbers, base, first, last) -> bitmapCardinality(bitmapSubsetInRange(numbers,
        toUInt32(least(greatest(first, base), base + 65536) - base), toUInt32(greatest(least(last + 1, base + 65536), base) - base))) AS inside,
    -- The numbers in blocks of 65,536, each a bitmap, in which one that came twice is
    -- there once. To group by sensor_id itself takes half as long again as by its hash.
    blocks AS
    (
        SELECT any(sensor_id) AS sensor_id, session, bitShiftLeft(bitShiftRight(sequence, 16) AS block, 16) AS base, groupBitmapState(toUInt16(sequence)) AS numbers
        FROM
        (
            -- An event has the time at which it began, and its number when it ended: after a
            -- heartbeat come some that are older than it.
            SELECT sensor_id, session, sequence FROM {{database}}.events
            WHERE timestamp >= {since:DateTime64(3, 'UTC')} - toIntervalMinute(10) AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
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
        ) AS records
        GROUP BY sipHash64(records.sensor_id), session, block
    ),
    -- Gaps may overlap: of each the numbers that no gap before it has.
    gaps AS
    (
        SELECT
            sensor_id, gap_session AS session, gap_last,
            max(last) OVER (PARTITION BY sensor_id, gap_session ORDER BY gap_first, last ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before,
            greatest(gap_first, before + 1) AS first,
            if(gap_last = 0, 0x7FFFFFFFFFFFFFFF, gap_last) AS last -- 0: up to the end of the session, wherever that was
        FROM {{database}}.gaps
        WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
    ),
    -- From which number on a session counts, the highest that gaps name, and the gaps.
    sessions AS
    (
        SELECT sensor_id, session, max(low) AS low, max(named) AS named, groupArrayArray(gone) AS gone
        FROM
        (
            -- A session that ended before `since` has none after it and does not count: some of
            -- its events are read all the same.
            SELECT
                sensor_id, session,
                if(min(timestamp - toIntervalMillisecond(toInt64(uptime_secs * 1000))) >= {since:DateTime64(3, 'UTC')}, 0,
                    ifNull(minOrNullIf(sequence, timestamp >= {since:DateTime64(3, 'UTC')}), 0x7FFFFFFFFFFFFFFF)) AS low,
                toUInt64(0) AS named, []::Array(Tuple(UInt64, UInt64)) AS gone
            FROM {{database}}.heartbeats
            WHERE timestamp >= {since:DateTime64(3, 'UTC')} - toIntervalMinute(10) AND ({sensor_id:String} = '' OR sensor_id = {sensor_id:String})
            GROUP BY sensor_id, session
            UNION ALL
            SELECT sensor_id, session, toUInt64(0) AS low, max(gap_last) AS named, groupArrayIf((first, last), first <= last) AS gone
            FROM gaps
            GROUP BY sensor_id, session
        )
        GROUP BY sensor_id, session
    ),
    counted AS
    (
        SELECT
            sensor_id, session, any(sessions.low) AS low, max(greatest(named, base + bitmapMax(numbers))) AS high, any(sessions.gone) AS gone,
            -- A part of a bitmap takes much longer to count than all of it: an array, unlike an
            -- if, counts it only in the blocks that begin below low.
            sum(bitmapCardinality(numbers)) - sum(arraySum(below -> inside(numbers, base, base, below), if(base > sessions.low OR sessions.low = 0, [], [sessions.low]))) AS stored,
            sum(arraySum(g -> inside(numbers, base, greatest(g.1, sessions.low + 1), g.2), sessions.gone)) AS gone_but_stored
        FROM blocks FULL JOIN sessions USING (sensor_id, session)
        GROUP BY sensor_id, session
    )
SELECT
    sensor_id, session,
    low + 1 AS first_sequence,
    high AS highest_sequence,
    stored,
    toUInt64(arraySum(g -> greatest(0, toInt64(least(g.2, high)) - toInt64(greatest(g.1, low + 1)) + 1), counted.gone) - gone_but_stored) AS gone,
    toUInt64(high - low - stored - gone) AS unexplained
FROM counted
WHERE high >= low
ORDER BY sensor_id, first_sequence, session;

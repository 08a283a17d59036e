-- The host names by which an address, or those of a CIDR, were known in a window
-- of time, the latest first: to whom, and from which kinds of events. Of every
-- address where it is empty.
CREATE OR REPLACE VIEW {{database}}.names_of_address AS
WITH
    (SELECT throwIf({limit:Int64} NOT BETWEEN 1 AND 500, 'limit must be 1 to 500')) AS limit_refused,
    (SELECT (first, last) FROM {{database}}.address_range(address = {address:String})) AS range,
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown
SELECT
    shown(named) AS address, known AS name,
    arraySort(groupUniqArray(kind)) AS kinds,
    uniqExact(sipHash64(sensor_id)) AS sensors, -- the hash takes half as long to count as the text
    arraySort(groupUniqArray(10)(assumeNotNull(binary))) AS binaries,
    count() AS events, min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM
(
    -- Whoever has ends knows the peer by its name; keys without nulls are grouped by in two thirds of the time.
    SELECT
        kind, sensor_id, timestamp, binary,
        assumeNotNull(coalesce(remote_name, name)) AS known,
        assumeNotNull(if(direction = 'inbound', source_address, destination_address) AS peer) AS named
    FROM {{database}}.events FINAL
    WHERE limit_refused = 0 AND kind NOT IN ('dns_query', 'dns_lookup')
        AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
        AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
        AND (range.1 != range.2 OR source_address = range.1 OR destination_address = range.1) -- there are indexes for one address
        AND coalesce(remote_name, name) IS NOT NULL AND peer IS NOT NULL
    UNION ALL
    SELECT
        kind, sensor_id, timestamp, binary,
        assumeNotNull(coalesce(remote_name, name)) AS known,
        arrayJoin(arrayMap(address -> assumeNotNull(address), arrayFilter(address -> address IS NOT NULL, -- aliases are no addresses
            arrayMap(answer -> toIPv6OrNull(answer), answers)))) AS named
    FROM {{database}}.events FINAL
    WHERE limit_refused = 0 AND kind IN ('dns_query', 'dns_lookup')
        AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
        AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
        AND (range.1 != range.2 OR has(answers, shown(range.1))) -- and for this
        AND coalesce(remote_name, name) IS NOT NULL AND notEmpty(answers)
)
WHERE named BETWEEN range.1 AND range.2
GROUP BY named, known
ORDER BY last_seen DESC, named, known
LIMIT {limit:Int64};

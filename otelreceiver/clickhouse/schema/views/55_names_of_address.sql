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
    uniqExact(sensor_id) AS sensors,
    arraySort(groupUniqArray(10)(assumeNotNull(binary))) AS binaries,
    count() AS events, min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM
(
    SELECT
        kind, sensor_id, timestamp, binary,
        coalesce(remote_name, name) AS known,
        arrayJoin(if(kind IN ('dns_query', 'dns_lookup'),
            arrayMap(answer -> toIPv6OrNull(answer), answers), -- aliases are no addresses
            [if(direction = 'inbound', source_address, destination_address)])) AS named
    FROM {{database}}.events FINAL
    WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
        AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
        -- There are indexes for one address.
        AND (range.1 != range.2 OR source_address = range.1 OR destination_address = range.1 OR has(answers, shown(range.1)))
)
WHERE limit_refused = 0 AND known IS NOT NULL AND named BETWEEN range.1 AND range.2
GROUP BY named, known
ORDER BY last_seen DESC, named, known
LIMIT {limit:Int64};

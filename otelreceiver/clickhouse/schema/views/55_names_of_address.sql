-- The host names by which an address, or those of a CIDR, were known in a window
-- of time, the latest first, and to whom; of every address where it is empty.
CREATE OR REPLACE VIEW {{database}}.names_of_address AS
WITH
    (SELECT throwIf({limit:Int64} NOT BETWEEN 1 AND 500, 'limit must be 1 to 500')) AS limit_refused,
    (SELECT (first, last) FROM {{database}}.address_range(address = {address:String})) AS range,
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown
SELECT
    shown(remote) AS address, remote_name AS name,
    uniqExact(sensor_id) AS sensors,
    arraySort(groupUniqArray(10)(assumeNotNull(binary))) AS binaries,
    count() AS events, min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM
(
    SELECT sensor_id, timestamp, binary, remote_name, if(direction = 'inbound', source_address, destination_address) AS remote
    FROM {{database}}.events FINAL
    WHERE timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
        AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
        AND (range.1 != range.2 OR source_address = range.1 OR destination_address = range.1) -- there is an index for this
)
WHERE limit_refused = 0 AND remote_name IS NOT NULL AND remote BETWEEN range.1 AND range.2
GROUP BY remote, remote_name
ORDER BY last_seen DESC, remote, name
LIMIT {limit:Int64};

-- Events of any kind in a window of time, the newest first. What is empty, or 0
-- for `port`, is not looked at. `sensor_id` and `kind` are lists with commas.
-- `process` is a path, its end (nginx finds /usr/sbin/nginx), a process's name or
-- a pid. `address` is an address or a CIDR, of either end. `name` finds a peer or a
-- question of DNS by that name, and by the names below it.
CREATE OR REPLACE VIEW {{database}}.events_search AS
WITH
    (SELECT throwIf({limit:Int64} NOT BETWEEN 1 AND 500, 'limit must be 1 to 500')) AS limit_refused,
    (SELECT throwIf({port:Int64} NOT BETWEEN 0 AND 65535, 'port must be 1 to 65535, or 0 for any')) AS port_refused,
    (SELECT (first, last) FROM {{database}}.address_range(address = {address:String})) AS range,
    range.1 = range.2 AS one,
    lower(trimRight({name:String}, '.')) AS domain,
    host -> lower(host) = domain OR endsWith(lower(host), concat('.', domain)) AS within,
    address -> replaceRegexpOne(toString(address), '^::ffff:([0-9.]+)$', '\\1') AS shown
SELECT * EXCEPT (received) REPLACE (shown(source_address) AS source_address, shown(destination_address) AS destination_address)
FROM {{database}}.events FINAL
WHERE limit_refused = 0 AND port_refused = 0
    AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
    AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
    AND ({kind:String} = '' OR kind IN splitByChar(',', {kind:String}))
    AND ({process:String} = '' OR binary = {process:String} OR endsWith(binary, concat('/', {process:String}))
        OR process_name = {process:String} OR toString(pid) = {process:String})
    AND (NOT one OR events.source_address = range.1 OR events.destination_address = range.1) -- there is an index for this
    AND (one OR {address:String} = '' OR events.source_address BETWEEN range.1 AND range.2 OR events.destination_address BETWEEN range.1 AND range.2)
    AND ({port:Int64} = 0 OR source_port = {port:Int64} OR destination_port = {port:Int64})
    AND (domain = '' OR within(remote_name) OR within(events.name))
ORDER BY timestamp DESC, sensor_id, session, sequence DESC
LIMIT {limit:Int64};

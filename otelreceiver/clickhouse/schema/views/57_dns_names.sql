-- Which names a program asked DNS for in a window of time, the most frequent
-- first, and how that went. `process` and `name` are looked at as events_search does.
CREATE OR REPLACE VIEW {{database}}.dns_names AS
WITH
    (SELECT throwIf({limit:Int64} NOT BETWEEN 1 AND 500, 'limit must be 1 to 500')) AS limit_refused,
    lower(trimRight({name:String}, '.')) AS domain
SELECT
    sensor_id, any(host_name) AS host_name, binary, name, query_type,
    count() AS queries,
    countIf(result = 'answered' AND rcode != 'NOERROR') AS failed,
    countIf(result = 'no_answer') AS unanswered,
    quantileExact(0.5)(latency_secs) AS latency_p50_secs,
    quantileExact(0.95)(latency_secs) AS latency_p95_secs,
    arraySort(groupUniqArrayArray(10)(events.servers)) AS servers,
    min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM {{database}}.events FINAL
WHERE limit_refused = 0 AND kind = 'dns_query' AND name IS NOT NULL -- an encrypted session has none
    AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
    AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
    AND ({process:String} = '' OR binary = {process:String} OR endsWith(binary, concat('/', {process:String}))
        OR process_name = {process:String} OR toString(pid) = {process:String})
    AND (domain = '' OR lower(events.name) = domain OR endsWith(lower(events.name), concat('.', domain)))
GROUP BY sensor_id, binary, name, query_type
ORDER BY queries DESC, sensor_id, binary, name, query_type
LIMIT {limit:Int64};

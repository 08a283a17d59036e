-- Questions of DNS without an answer or with another rcode than NOERROR, and
-- lookups that failed, in a window of time, the most frequent first. `failure` is
-- no_answer, the rcode, or the EAI_ name that getaddrinfo returned. `process` and
-- `name` are looked at as events_search does.
CREATE OR REPLACE VIEW {{database}}.dns_failures AS
WITH
    (SELECT throwIf({limit:Int64} NOT BETWEEN 1 AND 500, 'limit must be 1 to 500')) AS limit_refused,
    lower(trimRight({name:String}, '.')) AS domain
SELECT
    sensor_id, any(host_name) AS host_name, kind, binary, name, query_type,
    if(kind = 'dns_query' AND result = 'answered', rcode, result) AS failure,
    count() AS failures,
    sum(attempts) AS transmissions, -- null for lookups
    arraySort(groupUniqArrayArray(10)(events.servers)) AS servers,
    min(timestamp) AS first_seen, max(timestamp) AS last_seen
FROM {{database}}.events FINAL
WHERE limit_refused = 0
    AND (kind = 'dns_query' AND (result = 'no_answer' OR rcode != 'NOERROR') OR kind = 'dns_lookup' AND result != 'ok')
    AND timestamp >= {since:DateTime64(3, 'UTC')} AND timestamp < {until:DateTime64(3, 'UTC')}
    AND ({sensor_id:String} = '' OR sensor_id IN splitByChar(',', {sensor_id:String}))
    AND ({process:String} = '' OR binary = {process:String} OR endsWith(binary, concat('/', {process:String}))
        OR process_name = {process:String} OR toString(pid) = {process:String})
    AND (domain = '' OR lower(events.name) = domain OR endsWith(lower(events.name), concat('.', domain)))
GROUP BY sensor_id, kind, binary, name, query_type, failure
ORDER BY failures DESC, sensor_id, kind, binary, name, query_type, failure
LIMIT {limit:Int64};

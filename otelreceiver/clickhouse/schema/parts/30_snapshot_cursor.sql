-- Where a page of a snapshot begins: one row, read from the cursor that ended
-- the page before. `at` and `known` are those of the first page and travel with
-- the cursor, so that all pages are of the same heartbeats. A heartbeat counts
-- when it arrived 5 s before the first page: what is being written then shows in
-- no page, or the set would change while it is read.
--
-- A cursor is 1~VIEW~FILTER~AT~KNOWN~SENSOR~SEQUENCE~CHECK: the version, a hash
-- of the sensor_id that was asked for, times in milliseconds, the last row, and a
-- hash of all that, by which a damaged cursor is known.
--
-- Take tupleElement(last, 'sequence'): last.sequence is the same, and takes
-- ClickHouse twice as long to plan.
CREATE OR REPLACE VIEW {{database}}.snapshot_cursor AS
WITH
    splitByChar('~', {after:String}) AS parts,
    {after:String} = '' AS begins,
    lower(hex(sipHash64({sensor_id:String}))) AS filter,
    lower(hex(sipHash64(arrayStringConcat(arrayPopBack(parts), '~')))) AS check,
    length(parts) = 8 AND parts[1] = '1' AND parts[2] = {view:String} AND parts[3] = filter AND parts[8] = check AS whole,
    if(begins, {at:DateTime64(3, 'UTC')}, fromUnixTimestamp64Milli(toInt64OrZero(parts[4]), 'UTC')) AS at,
    if(begins, now64(3, 'UTC') - INTERVAL 5 SECOND, fromUnixTimestamp64Milli(toInt64OrZero(parts[5]), 'UTC')) AS known,
    arrayStringConcat(['1', {view:String}, filter, toString(toUnixTimestamp64Milli(at)), toString(toUnixTimestamp64Milli(known))], '~') AS head
SELECT
    (at, known, if(begins, '', parts[6]), if(begins, 0, toUInt64OrZero(parts[7])), head)
        ::Tuple(at DateTime64(3, 'UTC'), known DateTime64(3, 'UTC'), sensor_id String, sequence UInt64, head String) AS last
WHERE throwIf({limit:Int64} NOT BETWEEN 1 AND 10000, 'limit must be 1 to 10000') = 0
    AND throwIf(NOT begins AND NOT whole, concat('the cursor ', substring({after:String}, 1, 200),
        ' is damaged, or of another view or sensor_id: give it as it came, or begin again with an empty one')) = 0;

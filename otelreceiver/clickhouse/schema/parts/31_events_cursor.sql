-- Where a page of events begins: as `snapshot_cursor`. The window is that of the
-- first page. Events are told in the order of their key, in which each has its
-- place for ever, so a page needs no more than the place of the last row.
--
-- A cursor is 1~events~FILTER~SINCE~UNTIL~KIND~SENSOR~TIMESTAMP~SESSION~SEQUENCE~CHECK,
-- the last row's time in microseconds.
--
-- Take tupleElement(last, 'sequence'): last.sequence is the same, and takes
-- ClickHouse twice as long to plan.
CREATE OR REPLACE VIEW {{database}}.events_cursor AS
WITH
    splitByChar('~', {after:String}) AS parts,
    {after:String} = '' AS begins,
    lower(hex(sipHash64({sensor_id:String}, {kind:String}))) AS filter,
    lower(hex(sipHash64(arrayStringConcat(arrayPopBack(parts), '~')))) AS check,
    length(parts) = 11 AND parts[1] = '1' AND parts[2] = 'events' AND parts[3] = filter AND parts[11] = check AS whole,
    if(begins, {since:DateTime64(3, 'UTC')}, fromUnixTimestamp64Milli(toInt64OrZero(parts[4]), 'UTC')) AS since,
    if(begins, {until:DateTime64(3, 'UTC')}, fromUnixTimestamp64Milli(toInt64OrZero(parts[5]), 'UTC')) AS until,
    arrayStringConcat(['1', 'events', filter, toString(toUnixTimestamp64Milli(since)), toString(toUnixTimestamp64Milli(until))], '~') AS head
SELECT
    (since, until, if(begins, '', parts[6]), if(begins, '', parts[7]), fromUnixTimestamp64Micro(if(begins, 0, toInt64OrZero(parts[8])), 'UTC'),
        if(begins, toUUIDOrZero(''), toUUIDOrZero(parts[9])), if(begins, 0, toUInt64OrZero(parts[10])), head)
        ::Tuple(since DateTime64(3, 'UTC'), until DateTime64(3, 'UTC'), kind String, sensor_id String, timestamp DateTime64(6, 'UTC'), session UUID, sequence UInt64, head String) AS last
WHERE throwIf({limit:Int64} NOT BETWEEN 1 AND 10000, 'limit must be 1 to 10000') = 0
    AND throwIf(NOT begins AND NOT whole, concat('the cursor ', substring({after:String}, 1, 200),
        ' is damaged, or of another view, sensor_id or kind: give it as it came, or begin again with an empty one')) = 0;

-- The first and last address of an address or a CIDR, IPv4 or IPv6; of all where
-- it is empty.
CREATE OR REPLACE VIEW {{database}}.address_range AS
WITH
    splitByChar('/', {address:String}) AS halves,
    {address:String} = '' AS everything,
    if(everything, toIPv6('::'), toIPv6OrNull(halves[1])) AS base,
    if(everything OR position(halves[1], ':') > 0, 0, 96) AS before, -- the bits in front of an IPv4 address
    multiIf(everything, 0, length(halves) = 1, 128, toInt64(toUInt8OrNull(halves[2])) + before) AS bits,
    base IS NOT NULL AND length(halves) <= 2 AND ifNull(bits BETWEEN before AND 128, 0) AS valid,
    IPv6CIDRToRange(ifNull(base, toIPv6('::')), toUInt8(if(valid, bits, 0))) AS range
SELECT range.1 AS first, range.2 AS last
WHERE throwIf(NOT valid, concat('address ', substring({address:String}, 1, 200),
    ' is neither an address nor a CIDR: give one as 192.0.2.1, 192.0.2.0/24, 2001:db8::1 or 2001:db8::/32')) = 0;

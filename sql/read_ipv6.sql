-- Every row that may be of an IPv6 address, which has many spellings: a full scan, for the column is too narrow for most.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), macaddress
FROM clienthist
WHERE currentIpAddress LIKE '%%:%%'

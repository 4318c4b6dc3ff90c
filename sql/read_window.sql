-- Every row of the window: a full scan, unless there is an index on transDate.
SELECT clientHistId, transDate, currentIpAddress, principal, macaddress
FROM clienthist
WHERE transDate >= %s

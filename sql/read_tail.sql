-- The rows that were written since, and those that lay ahead of the clock: ranges of the primary key.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), macaddress
FROM clienthist
WHERE (clientHistId > %s OR clientHistId IN %s) AND transDate >= %s

-- The rows that were written since, within the window: a range of the primary key.
SELECT clientHistId, transDate, currentIpAddress, principal, macaddress
FROM clienthist
WHERE clientHistId > %s AND transDate >= %s

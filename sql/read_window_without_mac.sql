-- The same for a table without macaddress.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), NULL
FROM clienthist
WHERE transDate >= %s

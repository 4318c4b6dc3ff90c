-- The same for a table without macaddress.
SELECT clientHistId, transDate, currentIpAddress, principal, NULL
FROM clienthist
WHERE currentIpAddress LIKE '%%:%%'

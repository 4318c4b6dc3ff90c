-- Every row that may be of these IPv4 addresses: written so, or so that only uidsync can tell, with a blank before it
-- or inside an IPv6 address. A full scan, unless there is an index on currentIpAddress.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), macaddress
FROM clienthist
WHERE currentIpAddress IN %s
  OR currentIpAddress LIKE ':%%' OR currentIpAddress LIKE '0:%%' OR currentIpAddress LIKE '00%%'
  OR (currentIpAddress < '0' AND currentIpAddress <> '')
  OR currentIpAddress >= 'g'

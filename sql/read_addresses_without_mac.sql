-- The same for a table without macaddress.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), NULL
FROM clienthist
WHERE currentIpAddress IN %s
  OR currentIpAddress LIKE ':%%' OR currentIpAddress LIKE '0:%%' OR currentIpAddress LIKE '00%%'
  OR (currentIpAddress < '0' AND currentIpAddress <> '')
  OR currentIpAddress >= 'g'

-- The same for a table without macaddress.
SELECT STRAIGHT_JOIN
  newest.clientHistId, newest.transDate, newest.currentIpAddress, LEFT(newest.principal, 4096), NULL,
  address.size, address.highest, address.lowest
FROM (
  SELECT
    COUNT(*) AS size,
    MAX(clientHistId) AS highest,
    MIN(clientHistId) AS lowest,
    MAX((UNIX_TIMESTAMP(transDate) - %s) * 68719476736 + clientHistId) & 68719476735 AS winner
  FROM clienthist
  WHERE transDate >= %s AND transDate <= %s
  GROUP BY CAST(currentIpAddress AS BINARY)
  ORDER BY winner LIMIT 18446744073709551615
) AS address
JOIN clienthist AS newest ON newest.clientHistId = address.winner

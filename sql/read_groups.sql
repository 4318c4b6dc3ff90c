-- The newest row of every address in a part of the window, with how many rows it has there and their highest
-- and lowest ids.
-- Addresses are told apart by their bytes: a collation would take texts for one that uidsync does not.
-- The date, in seconds since the first parameter, and the id make one number, of which the id is the lower 36 bits.
-- The limit keeps the order, without which the rows of a large table would be fetched from all over the disk.
SELECT STRAIGHT_JOIN
  newest.clientHistId, newest.transDate, newest.currentIpAddress, LEFT(newest.principal, 4096), newest.macaddress,
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

-- The same for a table without macaddress.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), NULL
FROM clienthist
WHERE transDate BETWEEN %s AND %s
  AND (LOCATE(%s, LOWER(CONVERT(principal USING utf8mb4))) > 0
    OR LENGTH(CONVERT(principal USING utf8mb4)) <> CHAR_LENGTH(CONVERT(principal USING utf8mb4)))

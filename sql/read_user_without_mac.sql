-- The same for a table without macaddress.
SELECT clientHistId, transDate, currentIpAddress, principal, NULL
FROM clienthist
WHERE transDate BETWEEN %s AND %s
  AND (LOCATE(%s, LOWER(principal)) > 0 OR LENGTH(CONVERT(principal USING utf8mb4)) <> CHAR_LENGTH(principal))

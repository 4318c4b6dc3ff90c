-- Every row of the window that may name a user: by this part of the name, or with letters whose case only uidsync knows.
-- A full scan, unless there is an index on transDate.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), macaddress
FROM clienthist
WHERE transDate BETWEEN %s AND %s
  AND (LOCATE(%s, LOWER(CONVERT(principal USING utf8mb4))) > 0
    OR LENGTH(CONVERT(principal USING utf8mb4)) <> CHAR_LENGTH(CONVERT(principal USING utf8mb4)))

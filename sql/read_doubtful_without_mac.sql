-- The same for a table without macaddress.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), NULL
FROM clienthist
WHERE transDate >= %s
  AND (
    transDate > %s
    OR currentIpAddress IN %s
    OR CONVERT(principal USING utf8mb4) IS NULL
    OR CONVERT(principal USING utf8mb4) COLLATE utf8mb4_bin NOT REGEXP '^[a-zA-Z0-9][a-zA-Z0-9._-]*(,|$)'
    OR LOWER(CONVERT(principal USING utf8mb4) COLLATE utf8mb4_bin) REGEXP %s
    OR LENGTH(SUBSTRING_INDEX(principal, ',', 1)) > %s
  )

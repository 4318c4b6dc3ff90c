-- Every row that lies ahead, is of these addresses, or may name nobody; uidsync judges which do.
-- A name of a few ASCII letters, digits and marks is somebody's unless it is null, ignored or too long. All others are
-- read, for what else may name nobody only uidsync can tell. Collations differ: names are compared by their bytes.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), macaddress
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

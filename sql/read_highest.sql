-- The thousand rows below an id that were written last, of a part of the window; by the primary key, from its end, where an
-- index on transDate would have all of the window sorted. No row of the window lies below the last of the ids: where it has
-- fewer than a thousand, all that was written before it would be looked through for more.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), NULL
FROM clienthist FORCE INDEX (PRIMARY)
WHERE transDate >= %s AND transDate <= %s AND clientHistId < %s AND clientHistId >= %s
ORDER BY clientHistId DESC LIMIT 1000

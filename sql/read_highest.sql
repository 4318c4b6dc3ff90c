-- The thousand rows below an id that were written last, of a part of the window; by the primary key, from its end, where an
-- index on transDate would have all of the window sorted.
SELECT clientHistId, transDate, currentIpAddress, principal, NULL
FROM clienthist FORCE INDEX (PRIMARY)
WHERE transDate >= %s AND transDate <= %s AND clientHistId < %s
ORDER BY clientHistId DESC LIMIT 1000

-- Every row of the window: a full scan, unless there is an index on transDate. Of a principal no more is asked for, here and
-- in the other statements, than uidsync looks at for the name: roles may go on for megabytes.
SELECT clientHistId, transDate, currentIpAddress, LEFT(principal, 4096), macaddress
FROM clienthist
WHERE transDate >= %s

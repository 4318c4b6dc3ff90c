-- The names of machines, by the primary key.
SELECT clientHistId, winMachineName
FROM clienthist
WHERE clientHistId IN %s

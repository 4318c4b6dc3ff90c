-- The row that was written last, from the primary key.
SELECT transDate FROM clienthist ORDER BY clientHistId DESC LIMIT 1

-- The row that was written first of those that are left, from the primary key.
SELECT transDate FROM clienthist ORDER BY clientHistId LIMIT 1

SELECT at, highest_id FROM mark ORDER BY at

SELECT 1 FROM holding WHERE target = ? LIMIT 1

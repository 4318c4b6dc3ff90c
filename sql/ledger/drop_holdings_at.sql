DELETE FROM holding WHERE target = ? AND ip IN (SELECT value FROM json_each(?))

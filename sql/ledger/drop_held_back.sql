DELETE FROM held_back WHERE target = ? AND ip IN (SELECT value FROM json_each(?))

SELECT ip, user, timeout, sent_at, held_until, in_doubt FROM holding
WHERE target = ? AND ip IN (SELECT value FROM json_each(?))

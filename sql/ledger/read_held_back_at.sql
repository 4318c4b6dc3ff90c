SELECT ip, user, why, seen_at, event_id FROM held_back
WHERE target = ? AND ip IN (SELECT value FROM json_each(?))

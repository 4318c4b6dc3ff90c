SELECT ip, user, why, seen_at, event_id, mac FROM event WHERE ip IN (SELECT value FROM json_each(?))

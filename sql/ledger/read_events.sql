SELECT ip, user, why, seen_at, event_id, mac FROM event

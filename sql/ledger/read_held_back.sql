SELECT ip, user, why, seen_at, event_id FROM held_back WHERE target = ?

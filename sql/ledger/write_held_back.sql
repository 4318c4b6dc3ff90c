INSERT OR REPLACE INTO held_back (target, ip, user, why, seen_at, event_id) VALUES (?, ?, ?, ?, ?, ?)

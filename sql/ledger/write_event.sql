INSERT OR REPLACE INTO event (ip, user, why, seen_at, event_id, mac) VALUES (?, ?, ?, ?, ?, ?)

INSERT OR REPLACE INTO holding (target, ip, user, timeout, sent_at, held_until, in_doubt) VALUES (?, ?, ?, ?, ?, ?, ?)

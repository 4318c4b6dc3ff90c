-- A refresh under way may last longer than what is held already, and no shorter: the longer of the two counts.
INSERT INTO holding (target, ip, user, timeout, sent_at, held_until, in_doubt) VALUES (?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (target, ip, user) DO UPDATE SET timeout = excluded.timeout, sent_at = excluded.sent_at,
    held_until = max(held_until, excluded.held_until), in_doubt = 1

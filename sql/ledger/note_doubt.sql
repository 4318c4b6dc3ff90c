-- Logins, as a list of [address, user, minutes]. A refresh under way may last longer than what is held already, and no
-- shorter: the longer of the two counts.
INSERT INTO holding (target, ip, user, timeout, sent_at, held_until, in_doubt)
SELECT :target, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    :now, :now + json_extract(value, '$[2]') * 60000000, 1
FROM json_each(:logins) WHERE true
ON CONFLICT (target, ip, user) DO UPDATE SET timeout = excluded.timeout, sent_at = excluded.sent_at,
    held_until = max(held_until, excluded.held_until), in_doubt = 1

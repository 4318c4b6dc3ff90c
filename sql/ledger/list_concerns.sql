-- Somebody who is to be there is not held there, or in doubt, or for less than half of the timeout, which is in minutes;
SELECT ip FROM event
WHERE user IS NOT NULL AND seen_at >= :since AND NOT EXISTS (
    SELECT 1 FROM holding
    WHERE target = :target AND holding.ip = event.ip AND holding.user = event.user
      AND NOT in_doubt AND held_until > :now AND (held_until - :now) * 2 >= timeout * 60000000
)
UNION
-- somebody is held, or was until just now, who is not to be there; or something is held back.
SELECT ip FROM holding
WHERE target = :target AND held_until > :gone AND NOT EXISTS (
    SELECT 1 FROM event WHERE event.ip = holding.ip AND event.user = holding.user
)
UNION
SELECT ip FROM held_back WHERE target = :target
ORDER BY ip

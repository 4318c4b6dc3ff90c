SELECT ip FROM (
    SELECT ip, sent_at, count(*) OVER () AS settled,
        row_number() OVER (ORDER BY held_until DESC, sent_at DESC, ip DESC) AS place
    FROM holding
    WHERE target = :target AND NOT in_doubt AND sent_at <= :settled AND held_until > :lasting
      AND ip NOT IN (SELECT value FROM json_each(:leaving))
)
WHERE place <= max(:spots, settled / 2)
ORDER BY sent_at, ip
LIMIT :spots

SELECT count(*) FROM event WHERE user IS NOT NULL AND seen_at >= ?

DELETE FROM event WHERE seen_at <= ?

SELECT count(*), max(seen_at) FROM event

INSERT OR REPLACE INTO reading (only, source, rules, watermark, full_at, clock_offset) VALUES (1, ?, ?, ?, ?, ?)

SELECT source, rules, watermark, full_at, clock_offset FROM reading

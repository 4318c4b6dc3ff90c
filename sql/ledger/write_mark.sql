INSERT OR REPLACE INTO mark (at, highest_id) VALUES (?, ?)

INSERT INTO logout (target, at, entries) VALUES (?, ?, ?)

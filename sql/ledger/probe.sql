-- Writes, so that a full disk shows before anything depends on it.
UPDATE probe SET written = written + 1

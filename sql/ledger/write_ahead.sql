INSERT INTO ahead (event_id) VALUES (?)

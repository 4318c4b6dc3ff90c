SELECT event_id FROM ahead ORDER BY event_id

-- What runs on the ledger, by name.

-- ---- The source's side

-- name: read_reading
SELECT source, rules, watermark, full_at, clock_offset, disordered_at FROM reading

-- name: read_marks
SELECT at, highest_id FROM mark ORDER BY at

-- name: read_ahead
SELECT event_id FROM ahead ORDER BY event_id

-- name: read_events
SELECT ip, user, why, seen_at, event_id, mac, roles FROM event

-- name: read_events_at
SELECT ip, user, why, seen_at, event_id, mac, roles FROM event WHERE ip IN (SELECT value FROM json_each(:ips))

-- name: read_keys_at
SELECT ip, seen_at, event_id FROM event WHERE ip IN (SELECT value FROM json_each(:ips))

-- name: read_events_of
SELECT ip, user, why, seen_at, event_id, mac, roles FROM event WHERE casefold(user) IN (SELECT value FROM json_each(:users))

-- name: count_events
SELECT count(*), max(seen_at) FROM event

-- name: count_nobody
SELECT why, count(*) FROM event WHERE user IS NULL GROUP BY why

-- name: count_wanted
SELECT count(*) FROM event WHERE user IS NOT NULL AND seen_at >= :since

-- name: count_wanted_within
-- IPv4 addresses are found by ranges of text, along the key. The others, and users with tags, are looked at one by one.
SELECT count(*) FROM (
    SELECT user, seen_at FROM json_each(:ranges) AS range
    CROSS JOIN event ON ip >= json_extract(range.value, '$[0]') AND ip < json_extract(range.value, '$[1]')
    UNION ALL
    SELECT user, seen_at FROM event WHERE (instr(ip, ':') OR ip >= 'user') AND is_within(ip, :networks)
) WHERE user IS NOT NULL AND seen_at >= :since

-- name: write_event
INSERT OR REPLACE INTO event (ip, user, why, seen_at, event_id, mac, roles, written)
VALUES (?, ?, ?, ?, ?, ?, ?, (SELECT written FROM latest))

-- name: count_writing
UPDATE latest SET written = written + 1

-- name: drop_events
DELETE FROM event

-- name: drop_old_events
-- An event that is no longer valid stays for as long as it is evidence: somebody else may still stand at its address, or
-- its own user for longer than is known.
DELETE FROM event WHERE seen_at <= :until AND NOT EXISTS (
    SELECT 1 FROM target CROSS JOIN holding
    WHERE holding.target = target.name AND holding.ip = event.ip AND holding.held_until > :gone
      AND (holding.user IS NOT event.user OR holding.in_doubt)
)

-- name: write_reading
INSERT OR REPLACE INTO reading (only, source, rules, watermark, full_at, clock_offset, disordered_at)
VALUES (1, :source, :rules, :watermark, :full_at, :clock_offset, :disordered_at)

-- name: clear_marks
DELETE FROM mark

-- name: write_mark
INSERT OR REPLACE INTO mark (at, highest_id) VALUES (?, ?)

-- name: clear_ahead
DELETE FROM ahead

-- name: write_ahead
INSERT INTO ahead (event_id) VALUES (?)

-- ---- What is known of targets

-- name: read_target
SELECT name, identity, last_success, behind_since, error_kind, error_message, is_unusable, is_unreadable, is_suspect,
    reconciled_at, tried_at, pause, asked, member, certificate_not_after, client_certificate_not_after, compared_at,
    differing
FROM target
WHERE name = :target

-- name: write_target
INSERT OR REPLACE INTO target (name, identity, last_success, behind_since, error_kind, error_message, is_unusable,
    is_unreadable, is_suspect, reconciled_at, tried_at, pause, asked, member, certificate_not_after,
    client_certificate_not_after, compared_at, differing)
VALUES (:name, :identity, :last_success, :behind_since, :error_kind, :error_message, :is_unusable,
    :is_unreadable, :is_suspect, :reconciled_at, :tried_at, :pause, :asked, :member, :certificate_not_after,
    :client_certificate_not_after, :compared_at, :differing)

-- ---- What targets hold

-- name: read_holdings
SELECT ip, user, timeout, sent_at, held_until, in_doubt > 0 AS in_doubt, event_id, in_doubt = 2 AS undated FROM holding
WHERE target = :target

-- name: read_holdings_at
SELECT ip, user, timeout, sent_at, held_until, in_doubt > 0 AS in_doubt, event_id, in_doubt = 2 AS undated FROM holding
WHERE target = :target AND ip IN (SELECT value FROM json_each(:ips))

-- name: has_holdings
SELECT 1 FROM holding WHERE target = :target LIMIT 1

-- name: sum_up_holdings
SELECT count(*), coalesce(sum(in_doubt > 0), 0), min(held_until), max(held_until) FROM holding
WHERE target = :target AND held_until > :now

-- name: read_quiet_sums
SELECT held, 0, first_end, last_end FROM quiet WHERE target = :target AND min(until, first_end) > :now

-- name: count_settled
SELECT count(*) FROM holding WHERE target = :target AND held_until > :now AND sent_at <= :settled AND NOT in_doubt

-- name: count_held_addresses
-- Where doubt is noted for an event with nobody, others alone may have sent somebody.
SELECT count(DISTINCT ip) FROM holding WHERE target = :target AND held_until > :now AND NOT (in_doubt AND EXISTS (
    SELECT 1 FROM event WHERE event.ip = holding.ip AND event.event_id = holding.event_id AND event.user IS NULL
))

-- name: list_addresses
SELECT ip FROM event
UNION
SELECT ip FROM holding WHERE target IN (SELECT value FROM json_each(:targets))
UNION
SELECT ip FROM withdrawn WHERE target IN (SELECT value FROM json_each(:targets))
UNION
SELECT ip FROM rejected WHERE target IN (SELECT value FROM json_each(:targets))
ORDER BY ip

-- name: list_logins
-- An event that was seen at the limit has a minute left.
SELECT ip, user, iif(:is_fixed, :longest, min(:longest, (seen_at - :since) / 60000000 + 1)) FROM event
WHERE user IS NOT NULL AND seen_at >= :since AND (:networks = '[]' OR is_within(ip, :networks))
ORDER BY ip

-- name: list_concerns
-- What lists in the order of a key do not share is found by walking along them, which takes a third of the time that
-- looking up each row does. The limits, which are none, keep that order.
-- Somebody who is to be there is not held there, or in doubt, or for less than half of the timeout, which is in minutes,
-- unless another source has taken the address since, or the address lies outside of the target's networks, which is
-- asked last and of few;
SELECT ip FROM (
    SELECT ip, user FROM event WHERE user IS NOT NULL AND seen_at >= :since
    EXCEPT
    SELECT ip, user FROM holding
    WHERE target = :target AND NOT in_doubt AND held_until > :now AND (held_until - :now) * 2 >= timeout * 60000000
    EXCEPT
    SELECT event.ip, event.user FROM taken JOIN event ON event.ip = taken.ip AND event.event_id = taken.event_id
    WHERE taken.target = :target
    ORDER BY ip, user LIMIT -1
) WHERE :networks = '[]' OR is_within(ip, :networks)
UNION
-- somebody is held, or was until just now, who is not to be there, or outside of the networks;
SELECT ip FROM (
    SELECT ip, user FROM holding WHERE target = :target AND held_until > :gone
    EXCEPT
    SELECT ip, user FROM event WHERE seen_at >= :since
    ORDER BY ip, user LIMIT -1
)
UNION
SELECT ip FROM (
    SELECT ip FROM holding WHERE target = :target AND held_until > :gone AND :networks <> '[]'
    EXCEPT
    SELECT ip FROM json_each(:ranges) AS range
    CROSS JOIN holding ON target = :target AND ip >= json_extract(range.value, '$[0]') AND ip < json_extract(range.value, '$[1]')
    ORDER BY ip LIMIT -1
) WHERE NOT is_within(ip, :networks)
UNION
-- others write to the target as well, and there is a newer event than the one that was sent;
SELECT event.ip FROM event JOIN holding ON holding.target = :target AND holding.ip = event.ip
WHERE EXISTS (SELECT 1 FROM taken WHERE target = :target)
  AND holding.event_id NOT IN (0, event.event_id) AND event.seen_at >= :since
UNION
-- or something is held back.
SELECT ip FROM withdrawn WHERE target = :target
UNION
SELECT ip FROM rejected WHERE target = :target
ORDER BY ip

-- name: read_quiet
SELECT quiet.written, quiet.written = latest.written AND is_confirmed FROM quiet JOIN latest
WHERE target = :target AND terms = :terms AND until > :now

-- name: list_news
-- Where something may be due on a target that lacked nothing after a write: where events came since, also after another
-- source took the address, or logins are held back.
SELECT ip FROM (
    SELECT ip FROM event WHERE written > :written
    UNION
    SELECT event.ip FROM taken JOIN event ON event.ip = taken.ip WHERE target = :target AND written > :written
    UNION
    SELECT ip FROM withdrawn WHERE target = :target
    UNION
    SELECT ip FROM rejected WHERE target = :target
) ORDER BY ip

-- name: note_quiet
-- Of a target that lacks nothing: it does until half of a timeout is over, where a login would then last longer.
INSERT OR REPLACE INTO quiet (target, terms, written, until, is_confirmed, held, first_end, last_end)
SELECT :target, :terms, (SELECT written FROM latest),
    coalesce(min(CASE
        WHEN in_doubt THEN 0
        WHEN :is_fixed OR event.seen_at + :validity >= held_until + 60000000 THEN held_until - timeout * 30000000
    END), :latest),
    coalesce(max(holding.event_id NOT IN (0, event.event_id)), 0) = 0,
    coalesce(sum(held_until > :now), 0), min(CASE WHEN held_until > :now THEN held_until END), max(held_until)
FROM holding LEFT JOIN event ON event.ip = holding.ip
WHERE target = :target AND held_until > :gone

-- name: drop_all_quiet
DELETE FROM quiet

-- name: drop_quiet
DELETE FROM quiet WHERE target = :target

-- name: list_unconfirmed
-- Mappings of users who have come again since they were sent: another source may have had the address in between.
SELECT holding.ip
FROM (SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM quiet JOIN latest USING (written) WHERE target = :target AND is_confirmed))
CROSS JOIN holding JOIN event ON event.ip = holding.ip AND event.user = holding.user
WHERE holding.target = :target AND holding.event_id NOT IN (0, event.event_id)
  AND NOT in_doubt AND held_until > :now
ORDER BY holding.ip LIMIT :most

-- name: count_mappings
SELECT count(*) FROM holding WHERE target = :target

-- name: pick_fit
-- The first mapping from a place in the order of addresses on that is fit to be asked for: it is not in doubt, was not sent
-- just now and does not end soon.
SELECT ip FROM holding
WHERE target = :target AND ip >= (SELECT ip FROM holding WHERE target = :target ORDER BY ip LIMIT 1 OFFSET :place)
  AND NOT in_doubt AND sent_at <= :settled AND held_until > :lasting
ORDER BY ip LIMIT 1

-- name: write_holding
INSERT OR REPLACE INTO holding (target, ip, user, timeout, sent_at, held_until, in_doubt, event_id)
VALUES (:target, :ip, :user, :timeout, :sent_at, :held_until, iif(:undated, 2, :in_doubt), :event_id)

-- name: drop_holdings
-- What was withdrawn stays: the target may be the same one under another name, and still have the mapping.
DELETE FROM holding WHERE target = :target AND NOT EXISTS (
    SELECT 1 FROM withdrawn WHERE withdrawn.target = holding.target AND withdrawn.ip = holding.ip
)

-- name: doubt_holdings
UPDATE holding SET in_doubt = 1 WHERE target = :target

-- name: drop_holdings_at
DELETE FROM holding WHERE target = :target AND ip IN (SELECT value FROM json_each(:ips))

-- name: drop_lapsed
-- What ran out is remembered for as long as its event holds the address: that it was delivered is known by that. Where
-- nothing is due, that can wait.
DELETE FROM holding WHERE held_until < :until
  AND target IN (SELECT name FROM target WHERE name NOT IN (SELECT target FROM quiet WHERE until > :now))
  AND NOT EXISTS (SELECT 1 FROM event WHERE event.ip = holding.ip AND event.event_id = holding.event_id)

-- ---- What becomes of messages

-- name: write_message
INSERT OR REPLACE INTO message (target, number, at, entries) VALUES (?, ?, ?, ?)

-- name: drop_message
DELETE FROM message WHERE target = ? AND number = ?

-- name: doubt_logins
-- A refresh under way may last longer than what is held already, and no shorter: the longer of the two counts.
INSERT INTO holding (target, ip, user, timeout, sent_at, held_until, in_doubt, event_id)
SELECT target, json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    at, at + json_extract(value, '$[2]') * 60000000, 1,
    coalesce((SELECT event_id FROM event WHERE ip = json_extract(value, '$[0]')), 0)
FROM message, json_each(entries) WHERE number <= :last AND json_array_length(value) > 2 ORDER BY at
ON CONFLICT (target, ip, user) DO UPDATE SET timeout = excluded.timeout, sent_at = excluded.sent_at,
    held_until = max(held_until, excluded.held_until), in_doubt = 1,
    event_id = excluded.event_id

-- name: doubt_logouts
-- Whether the mapping is still there is not known until a logout is answered.
UPDATE holding SET in_doubt = 1 WHERE (target, ip, user) IN (
    SELECT target, json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM message, json_each(entries)
    WHERE number <= :last AND json_array_length(value) = 2
)

-- name: drop_messages
DELETE FROM message WHERE number <= :last

-- name: drop_replaced
-- One address has one user: an accepted login takes the place of whatever was there.
DELETE FROM holding WHERE target = :target AND ip IN (SELECT json_extract(value, '$[0]') FROM json_each(:entries))

-- name: drop_logged_out
DELETE FROM holding WHERE target = :target
  AND (ip, user) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:entries))

-- name: note_accepted
WITH login AS MATERIALIZED (
    SELECT json_extract(value, '$[0]') AS ip, json_extract(value, '$[1]') AS user, json_extract(value, '$[2]') AS timeout
    FROM json_each(:entries)
)
INSERT OR REPLACE INTO holding (target, ip, user, timeout, sent_at, held_until, in_doubt, event_id)
SELECT :target, login.ip, login.user, timeout, :now, :now + timeout * 60000000, 0, coalesce(event_id, 0)
FROM login LEFT JOIN event ON event.ip = login.ip

-- name: end_rejections
-- Of the target's rejections, which are few: the sign makes SQLite go through them, and not through the logins.
DELETE FROM rejected WHERE target = :target AND +ip IN (SELECT json_extract(value, '$[0]') FROM json_each(:entries))

-- name: end_takings
DELETE FROM taken WHERE target = :target AND +ip IN (SELECT json_extract(value, '$[0]') FROM json_each(:entries))

-- name: write_logouts
INSERT INTO logout (target, at, entries) VALUES (:target, :at, :entries)

-- name: count_logouts
SELECT coalesce(sum(entries), 0) FROM logout WHERE target = :target AND at > :since

-- name: drop_old_logouts
DELETE FROM logout WHERE at < :until

-- ---- What a target rejected

-- name: read_rejected
SELECT ip, user, event_id, since, tried_at, pause FROM rejected WHERE target = :target ORDER BY ip

-- name: read_rejected_at
SELECT ip, user, event_id, since, tried_at, pause FROM rejected
WHERE target = :target AND ip IN (SELECT value FROM json_each(:ips))

-- name: write_rejected
INSERT OR REPLACE INTO rejected (target, ip, user, event_id, since, tried_at, pause) VALUES (:target, :ip, :user, :event_id, :since, :tried_at, :pause)

-- name: drop_rejected
DELETE FROM rejected WHERE target = :target

-- name: drop_rejections
DELETE FROM rejected

-- name: drop_old_rejected
-- Of another event, or of a name that the rules do not make of it any more.
DELETE FROM rejected WHERE NOT EXISTS (
    SELECT 1 FROM event
    WHERE event.ip = rejected.ip AND event.event_id = rejected.event_id AND event.user = rejected.user
)

-- ---- What somebody withdrew

-- name: read_withdrawn
SELECT ip, user, seen_at, event_id FROM withdrawn WHERE target = :target ORDER BY ip

-- name: read_withdrawn_at
SELECT ip, user, seen_at, event_id FROM withdrawn
WHERE target = :target AND ip IN (SELECT value FROM json_each(:ips))

-- name: write_withdrawn
INSERT OR REPLACE INTO withdrawn (target, ip, user, seen_at, event_id) VALUES (:target, :ip, :user, :seen_at, :event_id)

-- name: drop_withdrawn_at
DELETE FROM withdrawn WHERE target = :target AND ip IN (SELECT value FROM json_each(:ips))

-- name: drop_old_withdrawn
-- A withdrawal is over once a newer event came, or another name would be sent; it stays for as long as it is evidence.
DELETE FROM withdrawn WHERE (seen_at < :until AND NOT EXISTS (
    SELECT 1 FROM holding
    WHERE holding.target = withdrawn.target AND holding.ip = withdrawn.ip AND holding.held_until > :gone
)) OR EXISTS (
    SELECT 1 FROM event WHERE event.ip = withdrawn.ip
      AND ((event.seen_at, event.event_id) > (withdrawn.seen_at, withdrawn.event_id)
        OR (event.user IS NOT NULL AND casefold(event.user) <> casefold(withdrawn.user)))
)

-- name: count_withdrawn
SELECT count(*) FROM withdrawn WHERE target = :target

-- name: count_rejected
SELECT count(*) FROM rejected WHERE target = :target

-- ---- What another source took

-- name: read_taken
SELECT ip, event_id FROM taken WHERE target = :target

-- name: read_taken_at
SELECT ip, event_id FROM taken WHERE target = :target AND ip IN (SELECT value FROM json_each(:ips))

-- name: count_taken
SELECT count(*) FROM taken WHERE target = :target

-- name: write_taken
INSERT OR REPLACE INTO taken (target, ip, event_id) VALUES (?, ?, ?)

-- name: drop_takings
DELETE FROM taken

-- name: drop_taken
DELETE FROM taken WHERE target = :target

-- name: drop_taken_at
DELETE FROM taken WHERE target = :target AND ip IN (SELECT value FROM json_each(:ips))

-- name: drop_old_taken
DELETE FROM taken
WHERE NOT EXISTS (SELECT 1 FROM event WHERE event.ip = taken.ip AND event.event_id = taken.event_id)

-- ---- A target's table as it was read, which lives beside the ledger for as long as it is compared

-- name: make_shown
CREATE TEMP TABLE IF NOT EXISTS shown (
    target TEXT NOT NULL,
    ip TEXT NOT NULL,
    vsys TEXT NOT NULL,
    type TEXT NOT NULL,
    user TEXT NOT NULL,
    seconds_left INTEGER,
    PRIMARY KEY (target, ip, type, user)
) WITHOUT ROWID

-- name: write_shown
INSERT OR IGNORE INTO shown (target, ip, vsys, type, user, seconds_left) VALUES (?, ?, ?, ?, ?, ?)

-- name: read_shown
SELECT ip, vsys, type, user, seconds_left FROM shown
WHERE target = :target AND ip IN (SELECT value FROM json_each(:ips))

-- name: copy_shown
INSERT OR IGNORE INTO shown (target, ip, vsys, type, user, seconds_left)
SELECT :target, ip, vsys, type, user, seconds_left FROM shown
WHERE target IN (SELECT value FROM json_each(:firewalls)) AND type IN (:own, :other)

-- name: drop_shown
DELETE FROM shown WHERE target = :target

-- name: make_alike
CREATE TEMP TABLE IF NOT EXISTS alike (
    target TEXT NOT NULL,
    ip TEXT NOT NULL,
    PRIMARY KEY (target, ip)
) WITHOUT ROWID

-- name: find_alike
-- Where one entry shows who is wanted and believed to be held, for as long as believed, and no renewal is due, there is
-- nothing to decide.
INSERT INTO alike (target, ip)
SELECT :target, shown.ip FROM shown
JOIN holding ON holding.target = :target AND holding.ip = shown.ip
JOIN event ON event.ip = shown.ip
WHERE shown.target = :target AND shown.type = :type AND lower(shown.user) = lower(holding.user)
  AND holding.user = event.user AND event.seen_at >= :since AND NOT holding.in_doubt
  AND abs(:now + shown.seconds_left * 1000000 - holding.held_until) <= :tolerance
  AND (holding.held_until - :now) * 2 >= holding.timeout * 60000000
  AND holding.held_until - event.seen_at <= :now - :since + 60000000 + :tolerance
  AND (SELECT count(*) FROM shown AS each WHERE each.target = :target AND each.ip = shown.ip) = 1
  AND (SELECT count(*) FROM holding AS each WHERE each.target = :target AND each.ip = shown.ip) = 1
  AND NOT EXISTS (SELECT 1 FROM withdrawn WHERE target = :target AND ip = shown.ip)
  AND NOT EXISTS (SELECT 1 FROM taken WHERE target = :target AND ip = shown.ip)
  AND (:networks = '[]' OR is_within(shown.ip, :networks))

-- name: count_alike
SELECT count(*) FROM alike WHERE target = :target

-- name: confirm_alike
-- Who is seen there after the newest event is there by that event, whichever it was sent for.
UPDATE holding SET event_id = (SELECT event_id FROM event WHERE event.ip = holding.ip)
WHERE target = :target AND ip IN (SELECT ip FROM alike WHERE target = :target)
  AND event_id <> (SELECT event_id FROM event WHERE event.ip = holding.ip)

-- name: list_differences
SELECT ip FROM (
    SELECT ip FROM event
    UNION
    SELECT ip FROM holding WHERE target = :target
    UNION
    SELECT ip FROM shown WHERE target = :target
)
WHERE ip NOT IN (SELECT ip FROM alike WHERE target = :target)
ORDER BY ip

-- name: drop_alike
DELETE FROM alike WHERE target = :target

-- ---- Whether the file can be written

-- name: probe
-- Writes, so that a full disk shows before anything depends on it.
UPDATE probe SET written = written + 1

-- ---- Moments that lie ahead of the clock, which are not believed

-- name: find_latest
SELECT at FROM latest

-- name: note_latest
-- The latest moment that anything here is of.
UPDATE latest SET at = :at WHERE at < :at

-- name: drop_future_events
DELETE FROM event WHERE seen_at > :limit

-- name: doubt_future_holdings
-- That these were accepted is known, and not when; those that were not are in doubt as they were.
UPDATE holding SET in_doubt = CASE in_doubt WHEN 0 THEN 2 ELSE in_doubt END, sent_at = :settled,
    held_until = min(held_until, :now + timeout * 60000000)
WHERE sent_at > :settled

-- name: drop_future_logouts
DELETE FROM logout WHERE at > :now

-- name: drop_future_marks
DELETE FROM mark WHERE at > :now

-- name: keep_a_mark
-- Where nothing is left, nothing is known to have been written whole.
INSERT INTO mark (at, highest_id) SELECT :now, 0 WHERE NOT EXISTS (SELECT 1 FROM mark)

-- name: doubt_reading
UPDATE reading SET full_at = 0, disordered_at = CASE WHEN disordered_at <= :limit THEN disordered_at END

-- name: doubt_future_withdrawals
UPDATE withdrawn SET seen_at = :now, event_id = 0 WHERE seen_at > :limit

-- name: doubt_future_rejections
UPDATE rejected SET since = min(since, :now), tried_at = 0 WHERE tried_at > :limit

-- name: suspect_targets
UPDATE target SET is_suspect = 1, reconciled_at = NULL, compared_at = NULL, tried_at = NULL, pause = 0

-- name: read_clocks
SELECT source_clock, own_clock FROM latest

-- name: note_clocks
UPDATE latest SET source_clock = :now, own_clock = :own_now

-- name: prolong_holdings
-- What stood before the clock was put forward still does. How much longer, and when it was sent, is in doubt.
UPDATE holding SET in_doubt = CASE in_doubt WHEN 0 THEN 2 ELSE in_doubt END, sent_at = min(sent_at, :settled),
    held_until = min(held_until + :step, :now + timeout * 60000000)
WHERE held_until > :now - :step

-- name: reset_latest
UPDATE latest SET at = :now

-- name: forget_sent
-- Ids that began anew say nothing of those that were sent before.
UPDATE holding SET event_id = -1

-- name: doubt_own_times
-- Times of runs, which are by our own clock.
UPDATE target SET last_success = CASE WHEN last_success <= :own_limit THEN last_success END,
    behind_since = min(behind_since, :own_now)
WHERE last_success > :own_limit OR behind_since > :own_limit

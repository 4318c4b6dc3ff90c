-- The schema of the ledger, by the numbers of its versions. Times are microseconds since 1970 by the source's clock, but for
-- those of runs, which are by ours.

-- name: migrate_1
-- What was read, and for which source and rules it holds.
CREATE TABLE reading (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    source TEXT NOT NULL,
    rules TEXT NOT NULL,
    watermark INTEGER NOT NULL,
    full_at INTEGER NOT NULL,
    clock_offset INTEGER NOT NULL  -- the source's clock minus ours
);

-- The highest id at the time of each read, as far back as the overlap of the next has to reach.
CREATE TABLE mark (
    at INTEGER PRIMARY KEY,
    highest_id INTEGER NOT NULL
);

-- Rows whose date lay ahead of the source's clock: they are read again until their time has come.
CREATE TABLE ahead (
    event_id INTEGER PRIMARY KEY
);

-- The event that holds each address.
CREATE TABLE event (
    ip TEXT PRIMARY KEY,
    user TEXT,
    why TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    mac TEXT
) WITHOUT ROWID;

-- What is known of each target; what it holds was learned for this identity of it.
CREATE TABLE target (
    name TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    last_success INTEGER,
    behind_since INTEGER,
    error_kind TEXT,
    error_message TEXT,
    is_unusable INTEGER NOT NULL DEFAULT 0,
    full_send_at INTEGER,
    may_not_ask INTEGER NOT NULL DEFAULT 0,
    lost_at INTEGER,
    lost_wait INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- What a target holds, and what it was sent without an answer.
CREATE TABLE holding (
    target TEXT NOT NULL,
    ip TEXT NOT NULL,
    user TEXT NOT NULL,
    timeout INTEGER NOT NULL,  -- minutes
    sent_at INTEGER NOT NULL,
    held_until INTEGER NOT NULL,
    in_doubt INTEGER NOT NULL,
    PRIMARY KEY (target, ip, user)
) WITHOUT ROWID;

-- Logins that are not sent again until a newer event: the target rejected them, or they were withdrawn.
CREATE TABLE held_back (
    target TEXT NOT NULL,
    ip TEXT NOT NULL,
    user TEXT NOT NULL,
    why TEXT NOT NULL CHECK (why IN ('rejected', 'withdrawn')),
    seen_at INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (target, ip)
) WITHOUT ROWID;

-- Logouts that were delivered, as far back as the limit counts them.
CREATE TABLE logout (
    target TEXT NOT NULL,
    at INTEGER NOT NULL,
    entries INTEGER NOT NULL
);

-- Written when the file is opened: a disk that is full shows then.
CREATE TABLE probe (
    written INTEGER NOT NULL
);
INSERT INTO probe (written) VALUES (0);

-- name: migrate_2
-- When the certificate of each target, as it was last seen, and the one that we show it end.
ALTER TABLE target ADD COLUMN certificate_not_after INTEGER;
ALTER TABLE target ADD COLUMN client_certificate_not_after INTEGER;

-- name: migrate_3
-- The event that a mapping was sent for; 0 where it is not known.
ALTER TABLE holding ADD COLUMN event_id INTEGER NOT NULL DEFAULT 0;

-- When a full read last found events below the ids that a tail would have begun at.
ALTER TABLE reading ADD COLUMN disordered_at INTEGER;

-- Logins that somebody withdrew: not sent again until a newer event.
CREATE TABLE withdrawn (
    target TEXT NOT NULL,
    ip TEXT NOT NULL,
    user TEXT NOT NULL,
    seen_at INTEGER NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (target, ip)
) WITHOUT ROWID;
INSERT INTO withdrawn SELECT target, ip, user, seen_at, event_id FROM held_back WHERE why = 'withdrawn';

-- Logins that a target rejected: tried again now and then, at ever longer pauses.
CREATE TABLE rejected (
    target TEXT NOT NULL,
    ip TEXT NOT NULL,
    user TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    since INTEGER NOT NULL,
    tried_at INTEGER NOT NULL,
    pause INTEGER NOT NULL,  -- microseconds
    PRIMARY KEY (target, ip)
) WITHOUT ROWID;
INSERT INTO rejected SELECT target, ip, user, event_id, seen_at, seen_at, 0 FROM held_back WHERE why = 'rejected';
DROP TABLE held_back;

-- Addresses that another source has taken since our event was delivered: left to it until a newer event.
CREATE TABLE taken (
    target TEXT NOT NULL,
    ip TEXT NOT NULL,
    event_id INTEGER NOT NULL,
    PRIMARY KEY (target, ip)
) WITHOUT ROWID;

-- What is known of each target; what it holds was learned for this identity of it.
ALTER TABLE target RENAME TO old_target;
CREATE TABLE target (
    name TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    last_success INTEGER,
    behind_since INTEGER,
    error_kind TEXT,
    error_message TEXT,
    is_unusable INTEGER NOT NULL,
    is_unreadable INTEGER NOT NULL,
    is_suspect INTEGER NOT NULL,
    reconciled_at INTEGER,
    tried_at INTEGER,
    pause INTEGER NOT NULL,  -- microseconds
    asked INTEGER NOT NULL,
    member TEXT NOT NULL,
    seen_id INTEGER NOT NULL,
    certificate_not_after INTEGER,
    client_certificate_not_after INTEGER
) WITHOUT ROWID;
INSERT INTO target SELECT name, identity, last_success, behind_since, error_kind, error_message, is_unusable, may_not_ask,
    0, full_send_at, full_send_at, 0, 0, '', 0, certificate_not_after, client_certificate_not_after FROM old_target;
DROP TABLE old_target;

-- The latest moment that anything in the ledger is of: a clock that lies before it has run back.
CREATE TABLE latest (
    at INTEGER NOT NULL
);
INSERT INTO latest SELECT coalesce(max(at), 0) FROM mark;

-- name: migrate_4
-- What the source's clock said when it was looked at last, and ours: whether the one was put forward shows by the other.
ALTER TABLE latest ADD COLUMN source_clock INTEGER;
ALTER TABLE latest ADD COLUMN own_clock INTEGER;

-- What is known of each target; what it holds was learned for this identity of it.
ALTER TABLE target RENAME TO old_target;
CREATE TABLE target (
    name TEXT PRIMARY KEY,
    identity TEXT NOT NULL,
    last_success INTEGER,
    behind_since INTEGER,
    error_kind TEXT,
    error_message TEXT,
    is_unusable INTEGER NOT NULL,
    is_unreadable INTEGER NOT NULL,
    is_suspect INTEGER NOT NULL,
    reconciled_at INTEGER,
    tried_at INTEGER,
    pause INTEGER NOT NULL,  -- microseconds
    asked INTEGER NOT NULL,
    member TEXT NOT NULL,
    certificate_not_after INTEGER,
    client_certificate_not_after INTEGER
) WITHOUT ROWID;
INSERT INTO target SELECT name, identity, last_success, behind_since, error_kind, error_message, is_unusable, is_unreadable,
    is_suspect, reconciled_at, tried_at, pause, asked, member, certificate_not_after, client_certificate_not_after FROM old_target;
DROP TABLE old_target;

-- name: migrate_5
-- With this come the same tables once more, for tags: `ip` is what has them, `user` the tags, parted by commas.

-- The roles of the event's principal, parted by commas.
ALTER TABLE event ADD COLUMN roles TEXT NOT NULL DEFAULT '';

-- name: migrate_6
-- When the table of a target was last compared as a whole, and how many entries differed.
ALTER TABLE target ADD COLUMN compared_at INTEGER;
ALTER TABLE target ADD COLUMN differing INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tag_target ADD COLUMN compared_at INTEGER;
ALTER TABLE tag_target ADD COLUMN differing INTEGER NOT NULL DEFAULT 0;

-- name: migrate_7
-- Messages on their way, each with its entries as a list of [address, user, minutes]; a logout has no minutes. Whoever
-- finds one here takes it as in doubt: what became of it was not recorded.
CREATE TABLE message (
    target TEXT NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    entries TEXT NOT NULL,
    PRIMARY KEY (target, number)
);
CREATE TABLE tag_message (
    target TEXT NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    entries TEXT NOT NULL,
    PRIMARY KEY (target, number)
);

-- name: migrate_8
-- The number of the write that an event came with: by these, news are found without a look at all events.
ALTER TABLE event ADD COLUMN written INTEGER NOT NULL DEFAULT 0;
ALTER TABLE tag_event ADD COLUMN written INTEGER NOT NULL DEFAULT 0;
ALTER TABLE latest ADD COLUMN written INTEGER NOT NULL DEFAULT 0;
CREATE INDEX event_written ON event (written);
CREATE INDEX tag_event_written ON tag_event (written);

-- Targets that lacked nothing after that write, and until when they lack nothing but for news, if they are served on the
-- same terms. Whatever changes what is believed of a target drops its row: the triggers below see to it. New
-- mappings, of which there are thousands, are those of a message, or come with the statement drop_quiet.
CREATE TABLE quiet (
    target TEXT PRIMARY KEY,
    terms TEXT NOT NULL,
    written INTEGER NOT NULL,
    until INTEGER NOT NULL,
    is_confirmed INTEGER NOT NULL,  -- none of its users has come again since the mapping was sent
    held INTEGER NOT NULL,
    first_end INTEGER,
    last_end INTEGER
) WITHOUT ROWID;
CREATE TABLE tag_quiet (
    target TEXT PRIMARY KEY,
    terms TEXT NOT NULL,
    written INTEGER NOT NULL,
    until INTEGER NOT NULL,
    is_confirmed INTEGER NOT NULL,
    held INTEGER NOT NULL,
    first_end INTEGER,
    last_end INTEGER
) WITHOUT ROWID;
CREATE TRIGGER message_inserted AFTER INSERT ON message
BEGIN DELETE FROM quiet WHERE target = NEW.target; END;
CREATE TRIGGER holding_updated AFTER UPDATE ON holding
BEGIN DELETE FROM quiet WHERE target = NEW.target; END;
CREATE TRIGGER holding_deleted AFTER DELETE ON holding
BEGIN DELETE FROM quiet WHERE target = OLD.target; END;
CREATE TRIGGER withdrawn_deleted AFTER DELETE ON withdrawn
BEGIN DELETE FROM quiet WHERE target = OLD.target; END;
CREATE TRIGGER rejected_deleted AFTER DELETE ON rejected
BEGIN DELETE FROM quiet WHERE target = OLD.target; END;
CREATE TRIGGER taken_inserted AFTER INSERT ON taken
BEGIN DELETE FROM quiet WHERE target = NEW.target; END;
CREATE TRIGGER taken_deleted AFTER DELETE ON taken
BEGIN DELETE FROM quiet WHERE target = OLD.target; END;
CREATE TRIGGER tag_message_inserted AFTER INSERT ON tag_message
BEGIN DELETE FROM tag_quiet WHERE target = NEW.target; END;
CREATE TRIGGER tag_holding_updated AFTER UPDATE ON tag_holding
BEGIN DELETE FROM tag_quiet WHERE target = NEW.target; END;
CREATE TRIGGER tag_holding_deleted AFTER DELETE ON tag_holding
BEGIN DELETE FROM tag_quiet WHERE target = OLD.target; END;
CREATE TRIGGER tag_withdrawn_deleted AFTER DELETE ON tag_withdrawn
BEGIN DELETE FROM tag_quiet WHERE target = OLD.target; END;
CREATE TRIGGER tag_rejected_deleted AFTER DELETE ON tag_rejected
BEGIN DELETE FROM tag_quiet WHERE target = OLD.target; END;
CREATE TRIGGER tag_taken_inserted AFTER INSERT ON tag_taken
BEGIN DELETE FROM tag_quiet WHERE target = NEW.target; END;
CREATE TRIGGER tag_taken_deleted AFTER DELETE ON tag_taken
BEGIN DELETE FROM tag_quiet WHERE target = OLD.target; END;

-- Times are microseconds since 1970 by the source's clock, but for those of runs, which are by ours.
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

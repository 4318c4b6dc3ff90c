-- What reports have told, so that the next one can say what is new. A row is what the report has on a line; a threat is known
-- by its number, which stays when the vendor renames it.
CREATE TABLE IF NOT EXISTS memory.row (
  id INTEGER PRIMARY KEY, destination TEXT NOT NULL, user TEXT NOT NULL, source TEXT NOT NULL, source_user TEXT NOT NULL,
  threat_id TEXT NOT NULL, threat TEXT NOT NULL, UNIQUE (destination, user, source, source_user, threat_id)
);
-- The first report of each day.
CREATE TABLE IF NOT EXISTS memory.report (day TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID;
-- On which days a report had an event of a row that no report of an earlier day had, and the time of the latest one.
CREATE TABLE IF NOT EXISTS memory.seen (
  row INTEGER NOT NULL, day TEXT NOT NULL, latest REAL NOT NULL, PRIMARY KEY (row, day)
) WITHOUT ROWID;
-- How far each log was read for `--since last`, and which entries of the overlap were counted.
CREATE TABLE IF NOT EXISTS memory.position (log TEXT PRIMARY KEY, until REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memory.counted (log TEXT, key BLOB, until REAL NOT NULL, PRIMARY KEY (log, key)) WITHOUT ROWID;

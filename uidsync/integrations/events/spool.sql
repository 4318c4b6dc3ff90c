-- Events of one report. The database is SQLite's own temporary one: it has no name, and is gone with the process.
CREATE TABLE event (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,
  log TEXT, target TEXT, query TEXT, log_type TEXT, time TEXT, received TEXT, device TEXT, serial TEXT, severity TEXT,
  action TEXT, rule TEXT, app TEXT, src TEXT, dst TEXT, src_key BLOB, dst_key BLOB, src_user TEXT, dst_user TEXT,
  src_zone TEXT, dst_zone TEXT, threat TEXT, threat_id TEXT, sessions INTEGER, raw TEXT,
  src_name TEXT, dst_name TEXT, src_who TEXT, dst_who TEXT
);
-- A side of an event at an address of the NAC's: when the event was, and whom the NAC knows there.
CREATE TABLE side (
  event INTEGER NOT NULL, side TEXT NOT NULL, address BLOB NOT NULL, first REAL, last REAL, is_folded INTEGER,
  mark TEXT, user TEXT, candidates TEXT, since REAL, until REAL, mac TEXT, row INTEGER, machine TEXT, verdict TEXT,
  PRIMARY KEY (event, side)
) WITHOUT ROWID;

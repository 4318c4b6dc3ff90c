-- Events of one report. The database is SQLite's own temporary one: it has no name, and is gone with the process.
CREATE TABLE event (
  id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,
  log TEXT, target TEXT, query TEXT, log_type TEXT, time TEXT, received TEXT, device TEXT, serial TEXT, severity TEXT,
  action TEXT, rule TEXT, app TEXT, src TEXT, dst TEXT, src_key BLOB, dst_key BLOB, src_user TEXT, dst_user TEXT,
  src_zone TEXT, dst_zone TEXT, threat TEXT, threat_id TEXT, sessions INTEGER, raw TEXT, at REAL
);
-- A side of an event at an address of the NAC's: when the event was, whom the firewall named, and whom the NAC knows there.
-- What is judged address by address is written here alone: rows of events are wide, and far apart for one address.
CREATE TABLE side (
  event INTEGER NOT NULL, side TEXT NOT NULL, address BLOB NOT NULL, first REAL, last REAL, doubt TEXT,
  given TEXT, name TEXT, who TEXT, mark TEXT, user TEXT, candidates TEXT, since REAL, until REAL, mac TEXT, row INTEGER, machine TEXT, verdict TEXT,
  PRIMARY KEY (event, side)
) WITHOUT ROWID;
-- Events with the name that is shown for each side, and who is meant by it.
CREATE VIEW named AS
  SELECT e.*, coalesce(src.name, e.src_user) AS src_name, coalesce(src.who, e.src_user) AS src_who,
    coalesce(dst.name, e.dst_user) AS dst_name, coalesce(dst.who, e.dst_user) AS dst_who
  FROM event e LEFT JOIN side src ON src.event = e.id AND src.side = 'src'
    LEFT JOIN side dst ON dst.event = e.id AND dst.side = 'dst';

-- The tables of gated that the path of a passage writes, with the same columns and indexes.
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO counters VALUES ('published', 0);
CREATE TABLE topics (id INTEGER PRIMARY KEY, topic TEXT NOT NULL UNIQUE);
CREATE TABLE passages (
  n INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, lane TEXT NOT NULL, entrance TEXT NOT NULL,
  direction TEXT NOT NULL, at INTEGER NOT NULL, decided_at INTEGER NOT NULL, received_at INTEGER NOT NULL,
  device_time INTEGER, device TEXT NOT NULL, key TEXT, credential_kind TEXT, credential TEXT, raw TEXT NOT NULL,
  confidence REAL, outcome TEXT NOT NULL, reason TEXT NOT NULL, rule_id TEXT NOT NULL, pass_id TEXT,
  details TEXT NOT NULL
);
CREATE INDEX passages_at ON passages (at);
CREATE INDEX passages_lane_at ON passages (lane, at);
CREATE INDEX passages_credential_at ON passages (credential, at);
CREATE INDEX passages_refused ON passages (outcome, at) WHERE outcome <> 'grant';
CREATE TABLE outbox (
  id INTEGER PRIMARY KEY, topic_id INTEGER NOT NULL REFERENCES topics, seq INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL, retain INTEGER NOT NULL, payload BLOB NOT NULL, UNIQUE (topic_id, seq)
);
CREATE TABLE openings (
  id TEXT PRIMARY KEY, lane TEXT NOT NULL, cause TEXT NOT NULL, outcome TEXT NOT NULL,
  requested_at INTEGER NOT NULL, finished_at INTEGER, passage_id TEXT, person TEXT, reason TEXT,
  detail TEXT NOT NULL
);
CREATE INDEX openings_passage ON openings (passage_id);
-- one INSERT from the flow, one transaction: the passage and its message
CREATE VIEW record AS SELECT passages.*, topic_id, seq, payload FROM passages, outbox;
CREATE TRIGGER record_both INSTEAD OF INSERT ON record BEGIN
  INSERT INTO passages (id, lane, entrance, direction, at, decided_at, received_at, device_time, device, key,
      credential_kind, credential, raw, confidence, outcome, reason, rule_id, pass_id, details)
    VALUES (new.id, new.lane, new.entrance, new.direction, new.at, new.decided_at, new.received_at,
      new.device_time, new.device, new.key, new.credential_kind, new.credential, new.raw, new.confidence,
      new.outcome, new.reason, new.rule_id, new.pass_id, new.details);
  INSERT INTO outbox (topic_id, seq, recorded_at, retain, payload)
    VALUES (new.topic_id, new.seq, new.decided_at, 0, new.payload);
END;

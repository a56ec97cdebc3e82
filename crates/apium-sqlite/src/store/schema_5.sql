-- What version 5 adds: broadcasts, and what all workers share. Times are microseconds since 1970 in UTC.

-- Who listens. kind: 0 direct, 1 topic, 2 fanout. renewed counts up while the listener's process lives.
CREATE TABLE mailbox (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    exchange TEXT NOT NULL,
    kind     INTEGER NOT NULL,
    binding  TEXT NOT NULL,
    ttl      INTEGER NOT NULL,   -- how long a message waits for it, in microseconds
    renewed  INTEGER NOT NULL
);
CREATE INDEX mailbox_exchange ON mailbox (exchange);
-- Each mailbox reads on from where it was. The oldest rows go, when they have expired or when there are too many.
CREATE TABLE broadcast (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    exchange    TEXT NOT NULL,
    routing_key TEXT NOT NULL,
    at          INTEGER NOT NULL,
    expires     INTEGER NOT NULL,
    size        INTEGER NOT NULL,
    headers     TEXT NOT NULL,
    properties  TEXT NOT NULL,
    body        BLOB NOT NULL
);
CREATE TABLE broadcast_size (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    messages INTEGER NOT NULL,
    bytes    INTEGER NOT NULL
);
INSERT INTO broadcast_size VALUES (1, 0, 0);
-- The last row of an exchange that went for lack of room.
CREATE TABLE broadcast_lost (
    exchange TEXT PRIMARY KEY,
    seq      INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE fleet (
    topic TEXT NOT NULL,
    key   TEXT NOT NULL,
    at    INTEGER NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (topic, key)
) WITHOUT ROWID;
CREATE INDEX fleet_at ON fleet (topic, at);
CREATE TABLE fleet_size (
    topic   TEXT PRIMARY KEY,
    records INTEGER NOT NULL
) WITHOUT ROWID;

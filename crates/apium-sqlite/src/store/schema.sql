-- The tables of Apium's embedded store, version 1; `schema_2.sql` adds those of version 2. Times are microseconds since
-- 1970 in UTC. Integer keys come from `counters`, so that none is ever used twice.
--
-- The row of a message is written once and deleted once. Its position is a small row beside it: in `ready`, `parked`
-- (delayed) or `claimed` (in flight). So a claim of 64 messages moves 64 small rows of one or two pages, and does not
-- change the pages of the messages.
--
-- rank = order - (priority << 48): ascending order is larger priority first, then lower order first. The order of a new
-- message is its id; a delayed message gets a new order when it is due.

CREATE TABLE counters (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    message  INTEGER NOT NULL,  -- the last message id or order
    result   INTEGER NOT NULL,  -- the last seq of a result
    consumer INTEGER NOT NULL,  -- the last consumer id
    topology INTEGER NOT NULL,  -- changes with every change of queue, exchange and binding
    listener INTEGER NOT NULL   -- changes with every change of listener
);
INSERT INTO counters VALUES (1, 0, 0, 0, 0, 0);

-- A deleted queue keeps its row, hidden, so that messages which were delivered from it can go back to it.
CREATE TABLE queue (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    max_priority INTEGER,
    hidden       INTEGER NOT NULL
);
CREATE TABLE exchange (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE binding (
    exchange TEXT NOT NULL,
    key      TEXT NOT NULL,
    queue    INTEGER NOT NULL,
    PRIMARY KEY (exchange, key, queue)
) WITHOUT ROWID;

-- exchange null: the default exchange. routing_key null: the name of the queue. headers null: body holds bytes that are
-- no message, and properties says why.
CREATE TABLE message (
    id          INTEGER PRIMARY KEY,
    exchange    TEXT,
    routing_key TEXT,
    headers     TEXT,
    properties  TEXT,
    body        BLOB NOT NULL
);
-- fence: the fence of the last delivery. crashes: how many runs started whose worker died during them.
CREATE TABLE ready (
    queue       INTEGER NOT NULL,
    rank        INTEGER NOT NULL,
    message     INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    crashes     INTEGER NOT NULL,
    redelivered INTEGER NOT NULL,
    PRIMARY KEY (queue, rank)
) WITHOUT ROWID;
CREATE TABLE parked (
    run_at      INTEGER NOT NULL,
    rank        INTEGER NOT NULL,
    queue       INTEGER NOT NULL,
    message     INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    crashes     INTEGER NOT NULL,
    redelivered INTEGER NOT NULL,
    PRIMARY KEY (run_at, rank)
) WITHOUT ROWID;
CREATE TABLE claimed (
    message     INTEGER PRIMARY KEY,
    consumer    INTEGER NOT NULL,
    queue       INTEGER NOT NULL,
    rank        INTEGER NOT NULL,
    fence       INTEGER NOT NULL,
    crashes     INTEGER NOT NULL,
    redelivered INTEGER NOT NULL
);

CREATE TABLE consumer (
    id          INTEGER PRIMARY KEY,
    node        TEXT NOT NULL,
    lease_until INTEGER NOT NULL,
    max_crashes INTEGER NOT NULL   -- always 0: the worker judges crashes
);
CREATE TABLE subscription (
    consumer INTEGER NOT NULL,
    queue    INTEGER NOT NULL,
    PRIMARY KEY (consumer, queue)
) WITHOUT ROWID;
-- The doorbells of processes that want to be woken: paths of Unix datagram sockets.
CREATE TABLE listener (
    path TEXT PRIMARY KEY
) WITHOUT ROWID;

CREATE TABLE dead (
    key         INTEGER PRIMARY KEY AUTOINCREMENT,
    code        TEXT NOT NULL,
    reason      TEXT NOT NULL,
    at          INTEGER NOT NULL,
    queue       INTEGER NOT NULL,
    priority    INTEGER NOT NULL,
    task_id     TEXT,
    task        TEXT,
    exchange    TEXT,
    routing_key TEXT,
    headers     TEXT,
    properties  TEXT,
    body        BLOB NOT NULL
);

-- seq grows with every write, so that a watcher can read what is new. key is 64 bits of the id. Random keys spread the
-- writes over the pages of `result_key`, so small keys are good: then there are few pages. Two ids may have the same
-- key; id decides.
CREATE TABLE result (
    seq      INTEGER PRIMARY KEY,
    key      INTEGER NOT NULL,
    id       NOT NULL,          -- a UUID as 16 bytes, any other id as text
    state    TEXT NOT NULL,
    retries  INTEGER,
    delivery INTEGER,
    expires  INTEGER,
    document TEXT NOT NULL
);
CREATE INDEX result_key ON result (key);
CREATE TABLE saved_group (
    id       TEXT PRIMARY KEY,
    expires  INTEGER,
    document TEXT NOT NULL
) WITHOUT ROWID;

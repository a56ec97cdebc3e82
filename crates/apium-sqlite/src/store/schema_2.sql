-- The tables that version 2 adds: chords. Times are microseconds since 1970 in UTC.

-- stage 0: parts are counted. 1: the body was sent, and the row says so until `expires`. 2: the body was failed.
-- size null: the chord is not opened yet. The chord is complete when parts = size + growth.
CREATE TABLE chord (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE,  -- the id of the header's group
    stage       INTEGER NOT NULL,
    size        INTEGER,
    growth      INTEGER NOT NULL,
    parts       INTEGER NOT NULL,      -- how many rows it has in `chord_part`
    expires     INTEGER,
    claimant    TEXT,                  -- who sends the body
    claim_until INTEGER,               -- and until when nobody else does
    structure   TEXT                   -- how the results nest
);
-- In the order of `place`, then of `id`. A header may have one task at several places. A part without a place has the
-- largest integer.
CREATE TABLE chord_part (
    id     INTEGER PRIMARY KEY,
    chord  INTEGER NOT NULL,
    place  INTEGER NOT NULL,
    task   NOT NULL,                   -- as `result.id`
    state  TEXT NOT NULL,
    result TEXT NOT NULL
);
CREATE UNIQUE INDEX chord_part_place ON chord_part (chord, place, task);

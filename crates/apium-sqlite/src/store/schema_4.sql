-- What version 4 adds: which parts were added to chords, so that each counts once in `chord.growth`. A program of an
-- older version counts without a row here.

CREATE TABLE chord_added (
    chord INTEGER NOT NULL,
    task  NOT NULL,                    -- as `result.id`
    PRIMARY KEY (chord, task)
) WITHOUT ROWID;

-- What version 3 adds: how long the lease of a consumer is, in microseconds, so that another process can wait as long by
-- a clock that nobody sets. Null: a program of version 2 registered it.

ALTER TABLE consumer ADD COLUMN lease INTEGER;

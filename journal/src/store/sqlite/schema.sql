CREATE TABLE runs (
    run_id TEXT PRIMARY KEY,
    namespace TEXT NOT NULL,
    namespace_uid TEXT NOT NULL,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    request_hash TEXT NOT NULL,
    key BLOB,
    length INTEGER NOT NULL,
    head BLOB NOT NULL,
    ended_at INTEGER,
    entry_bytes INTEGER NOT NULL,
    log_bytes INTEGER NOT NULL,
    collected INTEGER NOT NULL,
    hold TEXT,
    -- 0: all is kept; 1: the log is being purged; 2: it is; 3: the journal is being purged; 4: it is.
    purge INTEGER NOT NULL,
    log_purged TEXT,
    purged TEXT
) STRICT, WITHOUT ROWID;
CREATE INDEX open_runs ON runs (run_id) WHERE ended_at IS NULL;
CREATE INDEX uncollected ON runs (run_id) WHERE ended_at IS NOT NULL AND collected = 0;
CREATE INDEX kept_journals ON runs (namespace_uid, ended_at, run_id) WHERE ended_at IS NOT NULL AND purge < 3;
CREATE INDEX kept_logs ON runs (namespace_uid, ended_at, run_id) WHERE ended_at IS NOT NULL AND purge = 0;
CREATE INDEX being_purged ON runs (run_id) WHERE purge IN (1, 3);
CREATE TABLE entries (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    entry TEXT NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE skeletons (
    run_id TEXT NOT NULL,
    seq INTEGER NOT NULL,
    time TEXT NOT NULL,
    type TEXT NOT NULL,
    hash BLOB NOT NULL,
    PRIMARY KEY (run_id, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE claims (
    namespace_uid TEXT NOT NULL,
    kind TEXT NOT NULL,
    key TEXT NOT NULL,
    run_id TEXT NOT NULL,
    PRIMARY KEY (namespace_uid, kind, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE blobs (
    run_id TEXT NOT NULL,
    digest TEXT NOT NULL,
    namespace_uid TEXT NOT NULL,
    size INTEGER NOT NULL,
    PRIMARY KEY (run_id, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE log_lines (
    run_id TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    n INTEGER NOT NULL,
    stream TEXT NOT NULL,
    time TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (run_id, epoch, n)
) STRICT, WITHOUT ROWID;
CREATE TABLE drafts (
    run_id TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    digest TEXT NOT NULL,
    namespace_uid TEXT NOT NULL,
    text TEXT NOT NULL,
    expires INTEGER NOT NULL,
    PRIMARY KEY (run_id, key_hash, digest)
) STRICT, WITHOUT ROWID;
CREATE TABLE view_keys (
    namespace_uid TEXT NOT NULL,
    key_hash TEXT NOT NULL,
    run_id TEXT NOT NULL,
    actor TEXT NOT NULL,
    until INTEGER NOT NULL,
    PRIMARY KEY (namespace_uid, key_hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE facts (
    namespace_uid TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (namespace_uid, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE settings (
    key TEXT PRIMARY KEY,
    value BLOB NOT NULL
) STRICT, WITHOUT ROWID;

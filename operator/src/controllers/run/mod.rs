//! Runs: the journal's wish for a segment becomes a Job, its state a status.

//! Gates: what the journal asks people, as resources.

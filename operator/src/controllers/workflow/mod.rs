//! Workflows: schedules become runs.

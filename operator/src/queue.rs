//! A keyed, delayed work queue.

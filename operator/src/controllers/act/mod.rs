//! Acts of people: judged, journaled, answered.

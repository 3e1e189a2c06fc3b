//! The HTTPS API of runner pods and readers.

pub mod identity;

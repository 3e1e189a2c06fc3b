//! The certificate authority on the data volume and the server certificate it signs.

//! Session tokens: what a pod shows after `attach`. They need no storage.

use uuid::Uuid;

use super::digest::hmac_hex;

/// Who speaks: bound to one run, epoch and pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The run.
    pub run_id: Uuid,
    /// The epoch given at attach.
    pub epoch: u64,
    /// The pod.
    pub pod_uid: String,
}

/// The operator's secret behind session tokens.
#[derive(Clone, Copy)]
pub struct SessionKey([u8; 32]);

impl SessionKey {
    /// The key with these bytes, as stored.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The token of a session: `<runId>.<epoch>.<podUid>.<HMAC-SHA-256>`.
    pub fn token(&self, session: &Session) -> String {
        let text = format!("{}.{}.{}", session.run_id, session.epoch, session.pod_uid);
        let mac = hmac_hex(&self.0, text.as_bytes());
        format!("{text}.{mac}")
    }

    /// The session of a token this key made.
    pub fn open(&self, token: &str) -> Option<Session> {
        let (text, _) = token.rsplit_once('.')?;
        let mut parts = text.splitn(3, '.');
        let session = Session {
            run_id: parts.next()?.parse().ok()?,
            epoch: parts.next()?.parse().ok()?,
            pod_uid: parts.next()?.to_owned(),
        };
        same(self.token(&session).as_bytes(), token.as_bytes()).then_some(session)
    }
}

/// Equality in a time that does not depend on where the difference lies.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |seen, (x, y)| seen | (x ^ y)) == 0
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{Session, SessionKey};

    #[test]
    fn only_the_key_that_made_a_token_opens_it() {
        let session = Session { run_id: Uuid::from_u128(7), epoch: 3, pod_uid: "a-b.c".to_owned() };
        let key = SessionKey::from_bytes([1; 32]);
        let token = key.token(&session);
        assert_eq!(key.open(&token), Some(session));
        assert_eq!(SessionKey::from_bytes([2; 32]).open(&token), None);
        assert_eq!(key.open(&token.replace(".3.", ".4.")), None);
        assert_eq!(key.open("x"), None);
    }
}

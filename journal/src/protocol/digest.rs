//! Digests: plain ones inside the journal, keyed ones for everything that leaves it.

use std::fmt;
use std::str::FromStr;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// A text that is no digest of the wanted form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a SHA-256 digest in lower-case hex")]
pub struct BadDigest;

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes
        .iter()
        .flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]])
        .map(char::from)
        .collect()
}

fn unhex(text: &str) -> Result<[u8; 32], BadDigest> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return Err(BadDigest);
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Ok(c - b'0'),
        b'a'..=b'f' => Ok(c - b'a' + 10),
        _ => Err(BadDigest),
    };
    let mut out = [0; 32];
    for (byte, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Ok(out)
}

/// A link of the hash chain; on the wire 64 lower-case hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ChainHash(pub [u8; 32]);

impl ChainHash {
    /// What stands before entry 0.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of the entry with this canonical text (without its `hash` field) that follows `self`.
    #[must_use]
    pub fn next(&self, canonical_entry: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(canonical_entry.as_bytes());
        Self(hasher.finalize().into())
    }
}

impl fmt::Display for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for ChainHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ChainHash {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        unhex(text).map(Self)
    }
}

/// The plain digest of a blob; on the wire `sha256:<64 hex digits>`. It never leaves the journal for the Kubernetes
/// API.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256Digest(pub [u8; 32]);

impl Sha256Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of what was hashed.
    pub(crate) fn of_hash(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }

    /// The 64 hex digits alone.
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", hex(&self.0))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Sha256Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        unhex(text.strip_prefix("sha256:").ok_or(BadDigest)?).map(Self)
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}
as_text!(ChainHash);
as_text!(Sha256Digest);

/// The random secret of a run that makes its published digests unguessable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RunSecret([u8; 32]);

impl RunSecret {
    /// A fresh random key.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// The key with these bytes, as stored.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, to be stored beside the journal and nowhere else.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// `hmac-sha256:<hex>` of these bytes under this key.
    pub fn keyed(&self, bytes: &[u8]) -> String {
        format!("hmac-sha256:{}", hex(&hmac_sha256(&self.0, bytes)))
    }
}

impl fmt::Debug for RunSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RunSecret(…)")
    }
}

/// HMAC-SHA-256 under a key of 32 bytes.
pub(crate) fn hmac_sha256(key: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    // HMAC pads a short key with zeros to the block size; doing it here makes the constructor infallible.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
    mac.update(bytes);
    mac.finalize().into_bytes().into()
}

/// Lower-case hex of an HMAC, for session tokens.
pub(crate) fn hmac_hex(key: &[u8; 32], bytes: &[u8]) -> String {
    hex(&hmac_sha256(key, bytes))
}

#[cfg(test)]
mod tests {
    use super::{ChainHash, RunSecret, Sha256Digest};

    #[test]
    fn hmac_matches_a_value_computed_elsewhere() {
        // python3: hmac.new(bytes(range(32)), b"abc", "sha256").hexdigest()
        let key = RunSecret::from_bytes(std::array::from_fn(|n| u8::try_from(n).unwrap()));
        assert_eq!(key.keyed(b"abc"), "hmac-sha256:f0133729c4163dede81e21cd47839256da58171238c8a0d874397c73b14e1e47");
    }

    #[test]
    fn digests_survive_their_text_form_and_nothing_else_parses() {
        let digest = Sha256Digest::of(b"x");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert!(digest.to_string().to_uppercase().parse::<Sha256Digest>().is_err());
        assert!("sha256:00".parse::<Sha256Digest>().is_err());
        assert_eq!(ChainHash::ZERO.to_string().parse(), Ok(ChainHash::ZERO));
    }
}

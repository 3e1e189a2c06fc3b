//! A private certificate authority: one key and one certificate on the data volume.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::sign::CertifiedKey;
use thiserror::Error;

/// The authority's certificate outlives any volume it may be kept on.
const CA_LIFETIME: Duration = Duration::from_hours(10 * 365 * 24);
/// Certificates are valid from a little earlier than now, for clocks that are behind.
const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// Why certificates could not be made or loaded.
#[derive(Debug, Error)]
pub(crate) enum TlsError {
    /// The data volume.
    #[error("cannot use `{}`", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Making or reading keys and certificates.
    #[error("certificate authority")]
    Certificate(#[from] rcgen::Error),
    /// The TLS library.
    #[error("TLS")]
    Tls(#[from] rustls::Error),
}

/// The authority of this installation.
#[derive(Debug)]
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

impl Authority {
    /// Loads the authority from `dir`, or makes it there on the first start. Its key is readable by the owner only.
    pub(crate) fn load_or_create(dir: &Path, now: Timestamp) -> Result<Self, TlsError> {
        let (key_path, certificate_path) = (dir.join("ca.key"), dir.join("ca.crt"));
        fs::create_dir_all(dir).map_err(|source| TlsError::Io { path: dir.to_owned(), source })?;
        // The certificate is written last: without it there was no authority that anybody could have trusted.
        if !certificate_path.exists() {
            let key = KeyPair::generate()?;
            let certificate = ca_params(now).self_signed(&key)?;
            write_private(&key_path, key.serialize_pem().as_bytes())?;
            write_private(&certificate_path, certificate.pem().as_bytes())?;
        }
        let key = KeyPair::from_pem(&read(&key_path)?)?;
        Ok(Self { issuer: Issuer::new(ca_params(now), key), ca_pem: read(&certificate_path)? })
    }

    /// The authority's certificate as PEM.
    pub(crate) fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A new key and server certificate for these DNS names, ready for use.
    pub(crate) fn leaf(&self, names: &[String], now: Timestamp, lifetime: Duration) -> Result<CertifiedKey, TlsError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(names)?;
        params.distinguished_name = common_name(names.first().map_or("ntro", String::as_str));
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        set_validity(&mut params, now, lifetime);
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let signer = rustls::crypto::ring::sign::any_supported_type(&key)?;
        Ok(CertifiedKey::new(vec![CertificateDer::clone(certificate.der())], signer))
    }
}

/// Everything of the authority but its key. Its name must never change: it is what its leaves name as their issuer.
fn ca_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = common_name("ntro CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, now, CA_LIFETIME);
    params
}

fn common_name(name: &str) -> DistinguishedName {
    let mut names = DistinguishedName::new();
    names.push(DnType::CommonName, name.chars().take(64).collect::<String>());
    names
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, lifetime: Duration) {
    let since_1970 = Duration::from_secs(u64::try_from(now.as_second()).unwrap_or(0));
    let now = rcgen::date_time_ymd(1970, 1, 1) + since_1970;
    params.not_before = now - CLOCK_SKEW;
    params.not_after = now + lifetime;
}

fn read(path: &Path) -> Result<String, TlsError> {
    fs::read_to_string(path).map_err(|source| TlsError::Io { path: path.to_owned(), source })
}

/// Writes a file whole or not at all, readable by its owner only.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TlsError> {
    let io = |source| TlsError::Io { path: path.to_owned(), source };
    let draft = path.with_extension("tmp");
    let _ = fs::remove_file(&draft);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft).map_err(io)?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(io)?;
    fs::rename(&draft, path).map_err(io)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_private() {
        let dir = tempfile::tempdir().unwrap();
        let first = Authority::load_or_create(dir.path(), Timestamp::now()).unwrap();
        let again = Authority::load_or_create(dir.path(), Timestamp::now()).unwrap();
        assert_eq!(first.ca_pem(), again.ca_pem());
        let mode = fs::metadata(dir.path().join("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_first_start_that_died_half_way_is_repaired() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("ca.key"), "half a key").unwrap();
        Authority::load_or_create(dir.path(), Timestamp::now()).unwrap();
    }
}

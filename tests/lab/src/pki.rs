//! A certificate authority of our own and the edge's certificate under it, kept in a directory.

use std::time::{Duration, SystemTime};
use std::{fs, path::Path, sync::Arc};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::wire::{SNI_H2, SNI_PROBE, SNI_QUIC};

/// The authority's certificate, for the trust store of whoever is to believe the edge.
pub const CA_FILE: &str = "ca.pem";
const CA_KEY_FILE: &str = "ca.key";
const EDGE_FILE: &str = "edge.pem";
const EDGE_KEY_FILE: &str = "edge.key";
const NAMES_FILE: &str = "edge.names";
const DAY: Duration = Duration::from_secs(24 * 3600);
/// As long as Cloudflare's own certificates.
const LIFETIME: Duration = DAY.saturating_mul(90);
/// And renewed as early.
const RENEWED_AFTER: Duration = DAY.saturating_mul(60);

/// Makes what is missing in `dir`: the authority once, the edge's certificate whenever its names change or it grows old.
/// Besides `public_names` (wildcards allowed) it always covers the three names of the tunnel port.
///
/// # Errors
/// The file that could not be read or written, or the certificate that could not be made.
pub fn prepare(dir: &Path, public_names: &[String]) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let (ca_key, renewed) = ca_key(dir)?;
    let mut names: Vec<String> = [SNI_H2, SNI_QUIC, SNI_PROBE].map(String::from).into();
    names.extend(public_names.iter().cloned());
    let listed = names.join("\n");
    let same = fs::read_to_string(dir.join(NAMES_FILE)).is_ok_and(|old| old == listed);
    if !renewed && same && is_young(&dir.join(EDGE_FILE)) {
        return Ok(());
    }
    let ca = ca_params()?;
    let issuer = Issuer::from_params(&ca, ca_key);
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(names).context("a public name is no DNS name")?;
    params.distinguished_name.push(DnType::CommonName, "tunnelwarden lab edge");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    // Whoever's clock is behind believes it too.
    params.not_before = epoch + now().saturating_sub(DAY);
    params.not_after = epoch + now() + LIFETIME;
    let certificate = params.signed_by(&key, &issuer)?;
    write(&dir.join(EDGE_FILE), &certificate.pem())?;
    write(&dir.join(EDGE_KEY_FILE), &key.serialize_pem())?;
    write(&dir.join(NAMES_FILE), &listed)
}

/// Unix time.
#[expect(clippy::disallowed_methods, reason = "certificates are of real time")]
fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

fn is_young(file: &Path) -> bool {
    let made = fs::metadata(file).and_then(|data| data.modified()).ok();
    let made = made.and_then(|made| made.duration_since(SystemTime::UNIX_EPOCH).ok());
    made.is_some_and(|made| now().saturating_sub(made) < RENEWED_AFTER)
}

/// The edge's certificate chain and key, as `prepare` left them.
///
/// # Errors
/// The file that is missing or not PEM.
pub fn load(dir: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let chain = certificates(&dir.join(EDGE_FILE))?;
    let path = dir.join(EDGE_KEY_FILE);
    let pem = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let key = rustls_pemfile::private_key(&mut pem.as_slice())?;
    Ok((chain, key.with_context(|| format!("no private key in {}", path.display()))?))
}

/// All certificates of a PEM file.
///
/// # Errors
/// The file could not be read or is not PEM.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    rustls_pemfile::certs(&mut pem.as_slice())
        .collect::<Result<_, _>>()
        .with_context(|| format!("{} is not PEM", path.display()))
}

/// The cryptography both stand-ins use, named instead of installed for the whole process.
pub fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// The authority's key and whether it was made just now.
fn ca_key(dir: &Path) -> Result<(KeyPair, bool)> {
    let path = dir.join(CA_KEY_FILE);
    if let Ok(pem) = fs::read_to_string(&path) {
        return Ok((
            KeyPair::from_pem(&pem).with_context(|| format!("bad key in {}", path.display()))?,
            false,
        ));
    }
    let key = KeyPair::generate()?;
    let certificate = ca_params()?.self_signed(&key)?;
    write(&dir.join(CA_FILE), &certificate.pem())?;
    write(&path, &key.serialize_pem())?;
    Ok((key, true))
}

/// The same every time, so that the issuer can be rebuilt from the key alone.
fn ca_params() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, "tunnelwarden lab CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_stays_when_the_names_change() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str| fs::read_to_string(dir.path().join(name)).unwrap();
        prepare(dir.path(), &["app.example.com".into()]).unwrap();
        let (ca, edge) = (read(CA_FILE), read(EDGE_FILE));
        prepare(dir.path(), &["app.example.com".into()]).unwrap();
        assert_eq!((&ca, &edge), (&read(CA_FILE), &read(EDGE_FILE)));
        let old = SystemTime::UNIX_EPOCH + now().saturating_sub(RENEWED_AFTER + DAY);
        fs::File::options().write(true).open(dir.path().join(EDGE_FILE)).unwrap().set_modified(old).unwrap();
        prepare(dir.path(), &["app.example.com".into()]).unwrap();
        assert_eq!(ca, read(CA_FILE));
        assert_ne!(edge, read(EDGE_FILE), "it is renewed before it ends");
        let edge = read(EDGE_FILE);
        prepare(dir.path(), &["*.example.com".into()]).unwrap();
        assert_eq!(ca, read(CA_FILE));
        assert_ne!(edge, read(EDGE_FILE));
        load(dir.path()).unwrap();
    }
}

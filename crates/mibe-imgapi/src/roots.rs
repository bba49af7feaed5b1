//! Whom TLS trusts: the certificates of this machine, so that servers with a site's own authority are reached, or else Mozilla's.

use std::fs;
use std::io::Read as _;

use camino::{Utf8Path, Utf8PathBuf};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::Error;

/// Where systems keep the certificates of authorities in one file: Debian and illumos distributions after it, Red Hat, Alpine and BSD,
/// pkgsrc.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
    "/opt/local/etc/openssl/certs/ca-certificates.crt",
];
/// The variable that names another file, as OpenSSL has it.
const VARIABLE: &str = "SSL_CERT_FILE";
/// Largest file of certificates, in bytes.
const SIZE: u64 = 64 << 20;

/// The settings of TLS.
///
/// # Errors
///
/// The file that `SSL_CERT_FILE` names can't be read, or has no certificate.
pub fn tls() -> Result<TlsConfig, Error> {
    let named = std::env::var(VARIABLE).ok().filter(|path| !path.is_empty());
    let roots = match named.map(Utf8PathBuf::from) {
        Some(path) => {
            let found = certificates(&path).map_err(Error::io("read", &*path))?;
            if found.is_empty() {
                return Err(Error::usage(
                    format!("{VARIABLE} names {path}, in which there is no certificate"),
                    &["it is a file of certificates in PEM"],
                ));
            }
            found
        }
        None => BUNDLES
            .iter()
            .find_map(|path| {
                certificates(Utf8Path::new(path))
                    .ok()
                    .filter(|found| !found.is_empty())
            })
            .unwrap_or_default(),
    };
    let roots = if roots.is_empty() {
        RootCerts::WebPki
    } else {
        RootCerts::new_with_certs(&roots)
    };
    Ok(TlsConfig::builder().root_certs(roots).build())
}

fn certificates(path: &Utf8Path) -> std::io::Result<Vec<Certificate<'static>>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(SIZE).read_to_end(&mut text)?;
    let items = parse_pem(&text).filter_map(Result::ok);
    Ok(items
        .filter_map(|item| match item {
            PemItem::Certificate(certificate) => Some(certificate),
            _ => None,
        })
        .collect())
}

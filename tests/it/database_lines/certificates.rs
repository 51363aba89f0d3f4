//! Certificates that `psql` takes: taken, too, or turned down in words, with what to do.
//! `certificates/make.sh` made them.

use std::{path::Path, sync::Arc};

use rustls::{
    ServerConfig, SignatureAlgorithm, SignatureScheme,
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey},
};
use tokio_rustls::TlsAcceptor;

use super::{in_front_of, with_url};
use crate::support::bed::Bed;

fn file(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/database_lines/certificates");
    folder.join(name).display().to_string()
}

/// A key that ring does not sign with. It has not to: no client of ring's offers to check what it would sign.
#[derive(Debug)]
struct P521;

impl SigningKey for P521 {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        assert!(!offered.contains(&SignatureScheme::ECDSA_NISTP521_SHA512));
        None
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ECDSA
    }
}

/// Shows the certificate without a look at it: rustls' own ways to configure a server would turn some of them
/// down.
fn server(certificate: &str, key: Arc<dyn SigningKey>) -> TlsAcceptor {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let certificate = CertificateDer::from_pem_file(file(certificate)).unwrap();
    let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate], key));
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    TlsAcceptor::from(Arc::new(config))
}

#[tokio::test]
async fn what_psql_takes_and_we_do_not_is_named_with_the_remedy() {
    const KINDS: [&str; 2] = ["X.509 v3", "issue an X.509 v3 certificate"];
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let key = any_supported_type(&key).unwrap();
    let (authority, of_p521) = ("authority.pem", "authority_p521.pem");
    let (own, itself) = ("own_authority.pem", "self_signed.pem");
    let unknown = ["unknown authority", "name the file", "`sslrootcert`"];
    for (certificate, mode, root, said) in [
        (
            "x509_v1.pem",
            "verify-full",
            authority,
            Some(("it is X.509 v1", &KINDS[..])),
        ),
        (
            "x509_v1.pem",
            "verify-ca",
            authority,
            Some(("it is X.509 v1", &KINDS)),
        ),
        (
            own,
            "verify-full",
            own,
            Some(("it is an authority's own", &KINDS)),
        ),
        (own, "require", own, Some(("it is an authority's own", &KINDS))),
        (itself, "verify-full", itself, None),
        (itself, "verify-full", authority, Some(("authority", &unknown))),
        (
            "common_name_only.pem",
            "verify-full",
            authority,
            Some((
                "only as common name (CN)",
                &[
                    "issue the certificate with that name as subjectAltName",
                    "`sslmode=verify-ca`",
                ],
            )),
        ),
        ("common_name_only.pem", "verify-ca", authority, None),
        (
            "signed_with_p521.pem",
            "verify-full",
            of_p521,
            Some(("its key or signature type is unknown", &KINDS)),
        ),
    ] {
        let url = in_front_of(&bed, Some(server(certificate, key.clone()))).await;
        let url = format!("{url}?sslmode={mode}&sslrootcert={}", file(root));
        let code = if said.is_some() { 6 } else { 0 };
        let ran = with_url(&bed, &["migrate", "--dry-run"], &url)
            .await
            .ended_with(code);
        let (cause, remedy) = said.unwrap_or_default();
        for said in [&[cause][..], remedy].concat() {
            let named = ran.stderr.contains(said) && (code == 0 || ran.stderr.contains("of 0.0.0.0:"));
            assert!(named, "{certificate} {mode} {said}: {}", ran.stderr);
        }
        // Not in the library's words.
        assert!(!ran.stderr.contains("invalid peer certificate"), "{}", ran.stderr);
    }
}

#[tokio::test]
async fn a_server_whose_only_key_is_p_521_is_told_from_one_that_wants_to_know_the_client() {
    let bed = Bed::new().await;
    bed.user_rows(1, 3).await;
    let url = in_front_of(&bed, Some(server("self_signed.pem", Arc::new(P521)))).await;
    let url = format!(
        "{url}?sslmode=verify-full&sslrootcert={}",
        file("self_signed.pem")
    );
    for (arguments, shown) in [
        (&["migrate", "--dry-run"][..], ["0.0.0.0:", "not P-521"]),
        (&["doctor"], ["RSA, P-256, P-384 or Ed25519", "fix it"]),
    ] {
        let ran = with_url(&bed, arguments, &url).await.ended_with(6);
        let said = format!("{}{}", ran.stdout, ran.stderr);
        for shown in shown {
            assert!(said.contains(shown), "{shown}: {said}");
        }
        assert!(!said.contains("HandshakeFailure"), "{said}");
    }
}

//! `countersign reference-values sign`: the CoRIM of a document, signed by a key in a file. No broker takes part.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
    },
};
use evidence_formats::corim::{CorimError, SignatureHeader, SignedCorim, Validity};
use verifier::reference::{ReferenceSet, SetId, corim::unsigned};
use zeroize::Zeroizing;

use super::{parse, read, write};

/// Arguments of `countersign reference-values sign`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The document (JSON, or TOML by its name)
    file: PathBuf,
    /// The signer's private key: PKCS#8 in PEM, on P-256 or P-384, or of Ed25519
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// The signer's certificate and those above it, PEM, the signer's first; the root may be left out
    #[arg(long, value_name = "PEM")]
    chain: Option<PathBuf>,
    /// The signer's own name for itself, for people
    #[arg(long, value_name = "NAME")]
    signer: String,
    /// The set to sign, where the document has several
    #[arg(long)]
    id: Option<SetId>,
    /// Its version, where the document has several
    #[arg(long, value_name = "N", requires = "id")]
    version: Option<u32>,
    /// The manifest to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Signs.
pub(super) fn run(args: &Args) -> Result<()> {
    let values = parse(&args.file, &read(&args.file)?)?;
    let meant = |set: &&ReferenceSet| {
        args.id.as_ref().is_none_or(|id| *id == set.id) && args.version.is_none_or(|version| version == set.version)
    };
    let sets: Vec<&ReferenceSet> = values.sets().iter().filter(meant).collect();
    let [set] = sets.as_slice() else {
        bail!("expected one set, found {}: a CoRIM holds one; name it with --id and --version", sets.len());
    };
    if set.retire_at.is_some() || set.revoked_at.is_some() || set.proposed {
        bail!("expected a set without retire_at, revoked_at and proposed: the life of a set belongs to a broker");
    }
    let key = PrivateKey::read(&args.key)?;
    let header = SignatureHeader {
        algorithm: key.algorithm(),
        // Tells a broker that knows the key a changed manifest from one of a stranger.
        kid: Some(digest(&SHA256, key.public_key_info()?.as_ref()).as_ref().to_vec()),
        chain: args.chain.as_deref().map(certificates).transpose()?.unwrap_or_default(),
        signer: Some(args.signer.clone()),
        validity: Validity::default(),
    };
    let signed = SignedCorim::make(&header, unsigned(set).to_bytes()?, |message| key.sign(message))?;
    write(&args.out, &signed)
}

fn certificates(file: &std::path::Path) -> Result<Vec<Vec<u8>>> {
    let blocks = pem::parse_many(read(file)?).with_context(|| file.display().to_string())?;
    if blocks.is_empty() || blocks.iter().any(|block| block.tag() != "CERTIFICATE") {
        bail!("{}: expected PEM blocks labelled CERTIFICATE", file.display());
    }
    Ok(blocks.into_iter().map(pem::Pem::into_contents).collect())
}

/// A key for one of the algorithms that a broker takes.
enum PrivateKey {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl PrivateKey {
    fn read(file: &std::path::Path) -> Result<Self> {
        let text = Zeroizing::new(read(file)?);
        let block = pem::parse(text.as_slice()).with_context(|| file.display().to_string())?;
        if block.tag() != "PRIVATE KEY" {
            bail!("{}: expected a PEM block labelled PRIVATE KEY (PKCS#8)", file.display());
        }
        let document = Zeroizing::new(block.into_contents());
        let ecdsa = |algorithm| EcdsaKeyPair::from_pkcs8(algorithm, &document).ok();
        let p256 = || ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Self::P256);
        let p384 = || ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING).map(Self::P384);
        let ed25519 = || Ed25519KeyPair::from_pkcs8_maybe_unchecked(&document).ok().map(Self::Ed25519);
        p256()
            .or_else(p384)
            .or_else(ed25519)
            .with_context(|| format!("{}: expected a private key on P-256 or P-384, or of Ed25519", file.display()))
    }

    /// RFC 9053 section 2: ES256, ES384, EdDSA.
    const fn algorithm(&self) -> i64 {
        match self {
            Self::P256(_) => -7,
            Self::P384(_) => -35,
            Self::Ed25519(_) => -8,
        }
    }

    fn public_key_info(&self) -> Result<PublicKeyX509Der<'_>> {
        let encoded = match self {
            Self::P256(pair) | Self::P384(pair) => pair.public_key().as_der(),
            Self::Ed25519(pair) => pair.public_key().as_der(),
        };
        encoded.ok().context("the public key cannot be encoded")
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignFailed> {
        match self {
            Self::P256(pair) | Self::P384(pair) => {
                let signature = pair.sign(&SystemRandom::new(), message).map_err(|_unspecified| SignFailed::Key)?;
                Ok(signature.as_ref().to_vec())
            }
            Self::Ed25519(pair) => Ok(pair.sign(message).as_ref().to_vec()),
        }
    }
}

/// Nothing was signed.
#[derive(Debug, thiserror::Error)]
enum SignFailed {
    #[error("the key could not sign")]
    Key,
    #[error(transparent)]
    Corim(#[from] CorimError),
}

#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use std::fs;

    use aws_lc_rs::{pkcs8::Document, signature::EcdsaSigningAlgorithm};
    use verifier::{
        Timestamp,
        reference::corim::{CorimNames, CorimSigner, CorimTerms, PlatformValues, UnsignedCorim, import},
    };

    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_800_000_000);

    fn set(version: u32, more: &str) -> String {
        let launch = "4d".repeat(48);
        format!(
            r#"{{"id":"web","version":{version},"workload":"web",{more}"not_before":"2020-01-01T00:00:00Z","not_after":"2100-01-01T00:00:00Z","provenance":"test","measurements":[{{"launch":"{launch}"}}]}}"#
        )
    }

    fn document(sets: &[String]) -> String {
        format!(r#"{{"format":"countersign.reference-values/1","sets":[{}]}}"#, sets.join(","))
    }

    fn args(directory: &tempfile::TempDir, document: &str, pkcs8: &[u8]) -> Args {
        let path = |name: &str| directory.path().join(name);
        fs::write(path("set.json"), document).unwrap();
        fs::write(path("key.pem"), pem::encode(&pem::Pem::new("PRIVATE KEY", pkcs8))).unwrap();
        Args {
            file: path("set.json"),
            key: path("key.pem"),
            chain: None,
            signer: "pipeline".to_owned(),
            id: None,
            version: None,
            out: path("set.cose"),
        }
    }

    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm) -> Document {
        EcdsaKeyPair::generate_pkcs8(algorithm, &SystemRandom::new()).unwrap()
    }

    #[test]
    fn a_broker_that_knows_the_key_takes_what_was_signed_with_it() {
        let ed25519 = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
        let keys = [ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING), ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING), ed25519];
        for pkcs8 in keys {
            let directory = tempfile::tempdir().unwrap();
            let args = args(&directory, &document(&[set(3, "")]), pkcs8.as_ref());
            run(&args).unwrap();
            let key = PrivateKey::read(&args.key).unwrap();
            let public = pem::encode(&pem::Pem::new("PUBLIC KEY", key.public_key_info().unwrap().as_ref()));
            let signers = [CorimSigner::from_pem("pipeline", public.as_bytes()).unwrap()];
            let terms = CorimTerms {
                signers: &signers,
                unsigned: UnsignedCorim::Refuse,
                platform_values: PlatformValues::Refuse,
                now: NOW,
            };
            let imported = import(&fs::read(&args.out).unwrap(), &terms, &CorimNames::default()).unwrap();
            assert_eq!(
                serde_json::to_string(&imported.set).unwrap(),
                serde_json::to_string(&values(&args).sets()[0]).unwrap()
            );
            assert_eq!(imported.signer.unwrap().name, "pipeline");
        }
    }

    fn values(args: &Args) -> verifier::reference::ReferenceValues {
        parse(&args.file, &fs::read(&args.file).unwrap()).unwrap()
    }

    #[test]
    fn one_set_is_signed_at_a_time_and_its_life_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let key = ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING);
        let two = args(&directory, &document(&[set(3, ""), set(4, "")]), key.as_ref());
        assert!(run(&two).unwrap_err().to_string().contains("expected one set, found 2"));
        let chosen = Args { id: Some("web".parse().unwrap()), version: Some(4), ..two };
        run(&chosen).unwrap();
        let ending = args(&directory, &document(&[set(3, r#""retire_at":"2090-01-01T00:00:00Z","#)]), key.as_ref());
        assert!(run(&ending).unwrap_err().to_string().contains("without retire_at"));
        let no_key = args(&directory, &document(&[set(3, "")]), b"not a key");
        assert!(run(&no_key).unwrap_err().to_string().contains("expected a private key"));
    }
}

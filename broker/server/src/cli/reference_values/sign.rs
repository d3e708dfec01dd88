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

//! Keys that this machine's TPM keeps for reboots without the broker: off unless the settings, which are measured, say otherwise.
//!
//! A key is kept when the broker released it with terms, and replaced with each release. It is opened only when nothing is heard
//! from the broker: a refusal, another server or a wrong clock are answers, and the first of them drops the key. What is kept is no
//! secret, and nothing of it is believed before the TPM and the key in it have vouched for it.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    time::Duration,
};

use evidence_formats::digest::{Digest, HashAlgorithm};
use keys::{
    offline::{Asked, KeptKey, KeptKeyError, KeptObject, KeptTerms, OfflineTerms},
    random::{Random, SystemRandom},
    secret::{SecretArray, SecretBytes},
    tpm::TpmHash,
};
use tee::tpm::{ClockLimits, KeptObject as TpmObject, Pcrs};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{clock, exchange::Exchange, failure::Failure, luks::VolumeName};

/// Most bytes of a file that holds one; more is none.
const FILE_LIMIT: u64 = 64 * 1024 + 1;

/// A key was not kept, or does not open.
#[derive(Debug, Error)]
pub(crate) enum OfflineError {
    /// The file cannot be read or written.
    #[error("expected a kept key in {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not what is asked for, or its time is over.
    #[error(transparent)]
    Kept(#[from] KeptKeyError),
    /// The TPM does not open or keep it, or there is none.
    #[error("expected the TPM to keep or to open a key")]
    Machine(#[source] Box<Failure>),
    /// The broker's terms are none for a TPM.
    #[error("expected a known PCR bank in the broker's terms")]
    Bank,
    /// No randomness.
    #[error("expected randomness for a key")]
    Randomness,
}

impl From<Failure> for OfflineError {
    fn from(failure: Failure) -> Self {
        Self::Machine(Box::new(failure))
    }
}

/// Where kept keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfflineKeys {
    /// A directory that survives reboots.
    pub(crate) directory: PathBuf,
    /// How long the broker is waited for before a kept key is used.
    pub(crate) after: Duration,
}

/// A key that the broker released.
#[derive(Clone, Copy)]
pub(crate) struct ReleasedKey<'a> {
    /// The volume that it opens.
    pub(crate) volume: &'a VolumeName,
    /// Name of the secret.
    pub(crate) secret: &'a str,
    /// Its version.
    pub(crate) version: u64,
    /// The key.
    pub(crate) value: &'a SecretBytes,
}

/// A key that was kept.
pub(crate) struct OpenedKey {
    /// The key.
    pub(crate) value: SecretBytes,
    /// When its time is over, in seconds since the Unix epoch.
    pub(crate) until: u64,
}

impl OfflineKeys {
    /// Whether there is something to try for `volume`.
    pub(crate) fn hold(&self, volume: &VolumeName) -> bool {
        self.file(volume).exists()
    }

    /// Has the TPM keep a released key under the broker's terms, in the place of the one before.
    pub(crate) async fn keep(
        &self,
        exchange: &Exchange,
        key: ReleasedKey<'_>,
        terms: &OfflineTerms,
    ) -> Result<(), OfflineError> {
        let bank = bank(terms.policy.bank())?;
        let digest = |(pcr, value): (&u8, &Vec<u8>)| Some((*pcr, Digest::new(bank, value)?));
        let values: BTreeMap<u8, Digest> =
            terms.policy.values().iter().map(digest).collect::<Option<_>>().ok_or(OfflineError::Bank)?;
        let mut content: SecretArray<32> = Zeroizing::new([0; 32]);
        let mut rng = SystemRandom::new();
        rng.fill(content.as_mut_slice()).map_err(|_no_randomness| OfflineError::Randomness)?;
        let milliseconds = terms.until.saturating_sub(terms.given_at).saturating_mul(1000);
        let (data, boots) = (content.clone(), terms.boots);
        let kept = exchange.with_tpm(move |tpm| tpm.keep(data.as_slice(), bank, &values, (milliseconds, boots)));
        let (object, limits) = kept.await?;
        let terms = KeptTerms {
            volume: key.volume.to_string(),
            secret: key.secret.to_owned(),
            version: key.version,
            given_at: terms.given_at,
            until: terms.until,
            bank: terms.policy.bank(),
            pcrs: terms.policy.pcrs().collect(),
            clock: limits.clock,
            resets: limits.resets,
            restarts: limits.restarts,
        };
        let TpmObject { public, private, creation, ticket } = object;
        let object = KeptObject { public, private, creation, ticket };
        let kept = KeptKey::seal(terms, object, &content, key.value, &mut rng)?;
        self.write(key.volume, &kept.to_json())
    }

    /// The kept key of `volume`, when the TPM opens it and it is the one of `secret` whose time is not over.
    pub(crate) async fn open(
        &self,
        exchange: &Exchange,
        volume: &VolumeName,
        secret: &str,
    ) -> Result<OpenedKey, OfflineError> {
        let kept = KeptKey::parse(&self.read(volume)?)?;
        let claimed = kept.claimed();
        let pcrs = Pcrs::new(bank(claimed.bank)?, claimed.pcrs.iter().copied());
        let limits = ClockLimits { clock: claimed.clock, resets: claimed.resets, restarts: claimed.restarts };
        let KeptObject { public, private, creation, ticket } = kept.object().clone();
        let object = TpmObject { public, private, creation, ticket };
        let unsealed = exchange.with_tpm(move |tpm| tpm.open_kept(&object, &pcrs, limits)).await?;
        let asked = Asked { volume: volume.as_str(), secret, now: clock::now() };
        let value = kept.open(&SecretBytes::new(unsealed.to_vec()), asked)?;
        Ok(OpenedKey { value, until: kept.claimed().until })
    }

    /// Removes the kept key of `volume`; whether there was one.
    pub(crate) fn forget(&self, volume: &VolumeName) -> Result<bool, OfflineError> {
        let path = self.file(volume);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(source) => Err(OfflineError::File { path, source }),
        }
    }

    fn file(&self, volume: &VolumeName) -> PathBuf {
        self.directory.join(format!("{volume}.kept"))
    }

    fn read(&self, volume: &VolumeName) -> Result<Vec<u8>, OfflineError> {
        let path = self.file(volume);
        let mut bytes = Vec::new();
        match File::open(&path).and_then(|file| file.take(FILE_LIMIT).read_to_end(&mut bytes)) {
            Ok(_length) => Ok(bytes),
            Err(source) => Err(OfflineError::File { path, source }),
        }
    }

    /// Whole or not at all, also when the power fails.
    fn write(&self, volume: &VolumeName, bytes: &[u8]) -> Result<(), OfflineError> {
        let path = self.file(volume);
        let write = || {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
            let beside = self.directory.join(format!("{volume}.kept.new"));
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)?;
            File::open(&self.directory)?.sync_all()
        };
        write().map_err(|source| OfflineError::File { path: path.clone(), source })
    }
}

fn bank(bank: TpmHash) -> Result<HashAlgorithm, OfflineError> {
    HashAlgorithm::from_name(bank.name()).ok_or(OfflineError::Bank)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_file_is_replaced_as_a_whole_and_forgotten_once() {
        let directory = tempfile::tempdir().unwrap();
        let keys = OfflineKeys { directory: directory.path().join("offline"), after: Duration::ZERO };
        let volume: VolumeName = "data".parse().unwrap();
        assert!(!keys.hold(&volume) && !keys.forget(&volume).unwrap());
        for content in [&b"first, and longer"[..], b"second"] {
            keys.write(&volume, content).unwrap();
            assert_eq!(keys.read(&volume).unwrap(), content);
        }
        assert_eq!(fs::read_dir(&keys.directory).unwrap().count(), 1);
        assert!(keys.hold(&volume) && keys.forget(&volume).unwrap() && !keys.hold(&volume));
        assert!(matches!(keys.read(&volume), Err(OfflineError::File { .. })));
    }
}

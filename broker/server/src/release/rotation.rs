//! A guest changes a secret that it has, such as the key of its disk: a new random version is staged, put to use in the guest,
//! promoted, and the old versions are retired.
//!
//! The name alone stands for the promoted version throughout, so a guest that loses power between two steps gets the key that
//! its disk still opens with. Every step may be asked for again. The operator allows it for each secret (`rotation`), and the
//! release policy is asked about each step as a grant of its own kind.

use evidence_formats::code::Code;
use keys::{
    random::{NoRandomness, Random, SystemRandom},
    secret::SecretBytes,
};

use super::{Denied, ReleaseError, Releaser};
use crate::{
    attest::request::{GrantRequest, RotationStep},
    store::{Rotation, SecretMetadata, SecretVersion},
};

/// Bytes of a generated key.
const GENERATED: usize = 32;

/// A secret, as the guest that wants to change it finds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rotating {
    /// What the name stands for.
    pub(crate) current: SecretVersion,
    /// What it is being changed to.
    pub(crate) staged: Option<SecretVersion>,
    /// The number of a version that is staged now.
    pub(crate) next: u32,
}

/// What a step does to the stored secret, once the decision stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretChange {
    /// A new version is staged.
    Stage {
        /// What it is.
        metadata: SecretMetadata,
        /// Its content, encrypted.
        envelope: Vec<u8>,
    },
    /// The name stands for the staged version from now on.
    Promote {
        /// The secret.
        name: String,
        /// The version.
        version: u32,
    },
    /// Versions before this one are erased.
    Retire {
        /// The secret.
        name: String,
        /// The oldest version that stays.
        below: u32,
    },
}

/// What a step gives the guest.
pub(super) struct Step {
    pub(super) version: u32,
    pub(super) value: SecretBytes,
    pub(super) change: Option<SecretChange>,
}

impl Releaser<'_> {
    /// Takes the step that `request` names; the policy has allowed it.
    pub(super) fn rotate(
        &self,
        request: &GrantRequest,
        found: &Rotating,
    ) -> Result<Result<Step, Denied>, ReleaseError> {
        if found.current.rotation != Rotation::Guest {
            return denied("release.rotation.operator", format!("{} is changed by the operator alone", request.name));
        }
        let name = request.name.clone();
        match (request.step, request.version) {
            (Some(RotationStep::Stage), None) => self.stage(name, found),
            (Some(RotationStep::Promote), Some(version)) => {
                if found.staged.as_ref().is_some_and(|staged| staged.version == version) {
                    done(version, Some(SecretChange::Promote { name, version }))
                } else if found.current.version == version {
                    done(version, None)
                } else {
                    denied("release.rotation.version", format!("version {version} of {name} is not staged"))
                }
            }
            (Some(RotationStep::Retire), Some(version)) if found.current.version == version => {
                done(version, Some(SecretChange::Retire { name, below: version }))
            }
            (Some(RotationStep::Retire), Some(version)) => {
                denied("release.rotation.version", format!("version {version} of {name} is not the current one"))
            }
            // A lease of a step is not renewed.
            (_, _) => denied("release.rotation.step", "expected a step, and its version unless it stages".to_owned()),
        }
    }

    /// The version that is staged already, or a new one.
    fn stage(&self, name: String, found: &Rotating) -> Result<Result<Step, Denied>, ReleaseError> {
        if let Some(staged) = &found.staged {
            let value = self.vault.open_secret(self.tenant, &name, staged)?;
            return Ok(Ok(Step { version: staged.version, value, change: None }));
        }
        let (version, value) = (found.next, generate()?);
        let envelope = self.vault.seal_secret(self.tenant, &name, version, &value)?;
        let metadata = SecretMetadata {
            name,
            version,
            workloads: found.current.workloads.clone(),
            bridge: false,
            rotation: Rotation::Guest,
            offline: found.current.offline,
            staged: true,
            created_by: "guest".to_owned(),
            created_at: self.now,
        };
        Ok(Ok(Step { version, value, change: Some(SecretChange::Stage { metadata, envelope }) }))
    }
}

/// A new key of [`GENERATED`] random bytes.
pub(crate) fn generate() -> Result<SecretBytes, NoRandomness> {
    let mut key = vec![0; GENERATED];
    SystemRandom::new().fill(&mut key)?;
    Ok(SecretBytes::new(key))
}

fn done(version: u32, change: Option<SecretChange>) -> Result<Result<Step, Denied>, ReleaseError> {
    Ok(Ok(Step { version, value: SecretBytes::new(Vec::new()), change }))
}

fn denied(code: &'static str, reason: String) -> Result<Result<Step, Denied>, ReleaseError> {
    Ok(Err(Denied { code: Code::new(code), reasons: vec![reason] }))
}

//! What the disk's header says of a change of keys: a token of LUKS2 (On-Disk Format 1.1, section 3.4). Nothing in it is
//! secret, and nothing in it is believed: the host can write it. It says where to look; which key opens what is tried.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::VolumeName;

/// `type` of the token.
const TYPE: &str = "countersign";

/// How far a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum State {
    /// The broker's key is about to get its first slot.
    Enrolling,
    /// It has one, and the other slots are about to go.
    Wiping,
    /// It has one.
    Steady,
    /// The next version of the key is about to get its slot, or has it, and the old slot is about to go.
    Rotating,
}

/// The token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Journal {
    /// Which kind of token.
    pub(super) r#type: String,
    /// Slots that cryptsetup shows with the token. None: the token gives no key to anybody.
    pub(super) keyslots: Vec<String>,
    /// The volume.
    pub(crate) volume: VolumeName,
    /// How far it is.
    pub(crate) state: State,
    /// Version of the broker's key that opens `slot`.
    pub(crate) version: u32,
    /// Its slot.
    pub(crate) slot: u32,
    /// The version that it is changed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_version: Option<u32>,
    /// The slot of that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) next_slot: Option<u32>,
    /// Whether other slots are to go when the first one stands.
    #[serde(default)]
    pub(crate) wipe_others: bool,
}

impl Journal {
    /// Of this state.
    pub(crate) fn new(volume: &VolumeName, state: State, version: u32, slot: u32) -> Self {
        Self {
            r#type: TYPE.to_owned(),
            keyslots: Vec::new(),
            volume: volume.clone(),
            state,
            version,
            slot,
            next_version: None,
            next_slot: None,
            wipe_others: false,
        }
    }

    /// Reads a token of ours; `None` when it is somebody else's, or unreadable.
    pub(crate) fn parse(token: &Value) -> Option<Self> {
        if token.get("type").and_then(Value::as_str) != Some(TYPE) {
            return None;
        }
        serde_json::from_value(token.clone()).ok()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_is_read_as_it_was_written() {
        let volume: VolumeName = "data".parse().unwrap();
        let journal =
            Journal { next_version: Some(3), next_slot: Some(1), ..Journal::new(&volume, State::Rotating, 2, 0) };
        let token = serde_json::to_value(&journal).unwrap();
        assert_eq!(token["type"], "countersign");
        assert_eq!(token["state"], "rotating");
        assert_eq!(Journal::parse(&token), Some(journal));
    }

    #[test]
    fn other_tokens_are_not_ours() {
        for token in [
            json!({"type": "systemd-tpm2", "keyslots": ["0"]}),
            json!({"type": "countersign"}),
            json!({"type": "countersign", "keyslots": [], "volume": "../x", "state": "steady", "version": 1, "slot": 0}),
            json!(null),
        ] {
            assert_eq!(Journal::parse(&token), None, "{token}");
        }
    }
}

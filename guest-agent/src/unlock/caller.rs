//! Who asks at the socket, and for which volume.

use std::str;

use rustix::process::Uid;
use thiserror::Error;
use tokio::net::UnixStream;

use crate::luks::VolumeName;

/// Most bytes of the random part of a caller's name.
const LONGEST_RANDOM: usize = 64;

/// Why a caller gets no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum Stranger {
    /// The kernel does not say who it is.
    #[error("expected to know the caller")]
    Unknown,
    /// It is not root.
    #[error("expected a caller of uid 0, found uid {uid}")]
    User {
        /// Who.
        uid: u32,
    },
    /// It is not called as systemd-cryptsetup calls itself.
    #[error("expected a caller named RANDOM/cryptsetup/VOLUME")]
    Name,
    /// It opens another volume than the one that is served here.
    #[error("expected a caller that opens {served}, found one that opens {asked}")]
    Volume {
        /// Which is served.
        served: VolumeName,
        /// Which it opens.
        asked: VolumeName,
    },
}

/// The volume that the caller at the other end opens. `served` is the only one, where the service was started for one.
pub(super) fn volume(stream: &UnixStream, served: Option<&VolumeName>) -> Result<VolumeName, Stranger> {
    let uid = stream.peer_cred().map_err(|_unknown| Stranger::Unknown)?.uid();
    let address = stream.peer_addr().map_err(|_unknown| Stranger::Unknown)?;
    admit(uid, address.as_abstract_name(), served)
}

/// The name is worth something because only root may be here; it keeps one volume's key from opening another by mistake.
fn admit(uid: u32, name: Option<&[u8]>, served: Option<&VolumeName>) -> Result<VolumeName, Stranger> {
    if uid != Uid::ROOT.as_raw() {
        return Err(Stranger::User { uid });
    }
    let asked = name.and_then(volume_of).ok_or(Stranger::Name)?;
    match served {
        Some(served) if *served != asked => Err(Stranger::Volume { served: served.clone(), asked }),
        Some(_) | None => Ok(asked),
    }
}

/// `RANDOM/cryptsetup/VOLUME`, after the zero byte (crypttab(5)).
fn volume_of(name: &[u8]) -> Option<VolumeName> {
    let (random, rest) = str::from_utf8(name).ok()?.split_once('/')?;
    let random_ok =
        (1..=LONGEST_RANDOM).contains(&random.len()) && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let volume = rest.strip_prefix("cryptsetup/").filter(|_| random_ok)?;
    volume.parse().ok()
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn root_that_opens_the_served_volume_is_admitted() {
        let data: VolumeName = "data".parse().unwrap();
        let name = b"9f8a2c0d11e3b7aa/cryptsetup/data";
        assert_eq!(admit(0, Some(name), None), Ok(data.clone()));
        assert_eq!(admit(0, Some(name), Some(&data)), Ok(data.clone()));
        let other: VolumeName = "other".parse().unwrap();
        let refused = admit(0, Some(name), Some(&other)).unwrap_err();
        assert_eq!(refused.to_string(), "expected a caller that opens other, found one that opens data");
        assert_eq!(admit(1000, Some(name), Some(&data)), Err(Stranger::User { uid: 1000 }));
    }

    #[test]
    fn other_names_are_strangers() {
        let long = [&[b'a'; 65][..], b"/cryptsetup/data"].concat();
        let table: [&[u8]; 10] = [
            b"",
            b"data",
            b"/cryptsetup/data",
            b"1/cryptsetup/",
            b"1/cryptsetup/../data",
            b"1/cryptsetup-tpm2/data",
            b"1/other/data",
            b"1/2/cryptsetup/data",
            b"1/cryptsetup/data\0",
            &long,
        ];
        for name in table {
            assert_eq!(admit(0, Some(name), None), Err(Stranger::Name), "{}", String::from_utf8_lossy(name));
        }
        assert_eq!(admit(0, None, None), Err(Stranger::Name));
    }
}

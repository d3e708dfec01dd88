//! `credentials ssh-cert`: a certificate beside the guest's own SSH key.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf, absolute},
};

use keys::{
    random::SystemRandom,
    secret::SecretBytes,
    ssh::{SshKeyPair, SshPublicKey},
};
use serde::Deserialize;

use super::{Guest, lease};
use crate::{
    cli::SshCertArgs,
    exchange::Wanted,
    failure::Failure,
    lease::Want,
    output::{Output, OutputError},
};

/// What the broker answers.
#[derive(Deserialize)]
struct Certificate {
    certificate: String,
}

/// Fetches a certificate for the key, which is made when it is not there.
pub(super) fn write(args: &SshCertArgs, guest: &Guest) -> Result<(), Failure> {
    let key = public_key(&args.key)?;
    let line = key.to_line("countersign");
    match &args.lease_file {
        None => {
            let wanted = Wanted { public_key: Some(&line), ..Wanted::of("ssh-cert", &args.name) };
            write_certificate(&args.key, &guest.grant(&args.broker, wanted)?)
        }
        Some(file) => {
            let wrong = |_unusable| Failure::Argument { expected: "a path", path: args.key.clone() };
            let key = absolute(&args.key).map_err(wrong)?;
            let want = Want::SshCert { name: args.name.clone(), public_key: line, key: key.clone() };
            lease::fetch(want, file, &args.broker, guest, |given| write_certificate(&key, lease::value(&given)?))
        }
    }
}

/// Writes the certificate of an answer beside its key.
pub(super) fn write_certificate(key: &Path, answer: &SecretBytes) -> Result<(), Failure> {
    let unreadable = Failure::Answer { expected: "an SSH certificate" };
    let Ok(Certificate { certificate }) = serde_json::from_slice(answer.expose()) else { return Err(unreadable) };
    let is_line = certificate.contains("-cert-v01@openssh.com ") && !certificate.chars().any(char::is_control);
    if !is_line {
        return Err(unreadable);
    }
    // Only this file changes from one certificate to the next: key and certificate fit at every moment.
    Ok(Output::public(&beside(key, "-cert.pub")).write(format!("{certificate}\n").as_bytes())?)
}

/// The public half of the key at `path`: of its `.pub` file, of the key itself, or of a new key.
fn public_key(path: &Path) -> Result<SshPublicKey, Failure> {
    let public = beside(path, ".pub");
    let wrong = |path: &Path| Failure::Argument {
        expected: "an OpenSSH key of the type ed25519 or ecdsa (nistp256, nistp384)",
        path: path.to_owned(),
    };
    match fs::read_to_string(&public) {
        Ok(line) => return SshPublicKey::parse(&line).map_err(|_unusable| wrong(&public)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_unreadable) => return Err(wrong(&public)),
    }
    let key = match fs::read(path) {
        Ok(private) => SshPublicKey::of_private_file(&SecretBytes::new(private)).map_err(|_unusable| wrong(path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(path)?,
        Err(_unreadable) => return Err(wrong(path)),
    };
    Output::public(&public).write(format!("{}\n", key.to_line("countersign")).as_bytes())?;
    Ok(key)
}

/// A new key that replaces none.
fn make(path: &Path) -> Result<SshPublicKey, Failure> {
    let pair = SshKeyPair::generate(&mut SystemRandom::new());
    let pair = pair.map_err(|error| Failure::Make { what: "a key", reason: error.to_string() })?;
    let written: Result<(), OutputError> =
        Output::secret(Some(path), false)?.write(pair.to_openssh("countersign").expose());
    written?;
    Ok(pair.public())
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_then_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("id");
        let key = public_key(&path).unwrap();
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(public_key(&path).unwrap(), key);
        // As after a crash between the two files.
        fs::remove_file(beside(&path, ".pub")).unwrap();
        assert_eq!(public_key(&path).unwrap(), key);
        assert_eq!(SshPublicKey::parse(&fs::read_to_string(beside(&path, ".pub")).unwrap()).unwrap(), key);
        fs::write(beside(&path, ".pub"), "ssh-rsa AAAA").unwrap();
        assert!(matches!(public_key(&path), Err(Failure::Argument { .. })));
    }
}

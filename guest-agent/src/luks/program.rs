//! Running `cryptsetup`.

use std::{
    ffi::{OsStr, OsString},
    io::{self, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use keys::secret::SecretBytes;
use rustix::{
    io::{FdFlags, fcntl_setfd},
    pipe::{PipeFlags, pipe_with},
};
use thiserror::Error;

use super::HeaderError;

/// Where the program is found when nothing else is said.
const USUAL_PLACES: [&str; 4] =
    ["/usr/sbin/cryptsetup", "/sbin/cryptsetup", "/usr/bin/cryptsetup", "/usr/local/sbin/cryptsetup"];

/// Longest key: a pipe takes it whole before anybody reads (POSIX: at least 4096 bytes).
const LONGEST_KEY: usize = 4096;

/// How much of what the program says is kept.
const MESSAGE_LIMIT: usize = 500;

/// The largest output of the program that is read: a header's metadata is 4 MiB at most.
const OUTPUT_LIMIT: usize = 4 * 1024 * 1024;

/// Its exit status for "no key fits" (EPERM of libcryptsetup).
const NO_KEY: i32 = 2;

/// The program, and the directory for copies of headers.
#[derive(Debug, Clone)]
pub(crate) struct Cryptsetup {
    program: PathBuf,
    pub(super) runtime_directory: PathBuf,
}

/// Why a disk was not opened or changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum CryptsetupError {
    /// The program does not start.
    #[error("expected to run {}", program.display())]
    Start {
        /// Which program.
        program: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A pipe, or the copy of the header, cannot be made.
    #[error("expected to make {what}")]
    Make {
        /// What.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A key that no pipe takes.
    #[error("expected a key of 1 to {LONGEST_KEY} bytes, found {found}")]
    Key {
        /// How long it is.
        found: usize,
    },
    /// The key opens no slot.
    #[error("expected the key to open {}", device.display())]
    NoKey {
        /// Which disk.
        device: PathBuf,
    },
    /// It fails.
    #[error("cryptsetup {verb} ended with status {status}: {message}")]
    Failed {
        /// What it was told to do.
        verb: &'static str,
        /// Its exit status; -1 when a signal ended it.
        status: i32,
        /// What it said.
        message: String,
    },
    /// The disk's header is not one that a key is given to.
    #[error("expected a LUKS2 header that keeps data secret on {}", device.display())]
    Header {
        /// Which disk.
        device: PathBuf,
        /// What is wrong.
        source: HeaderError,
    },
}

impl Cryptsetup {
    /// The program at `program`, or at a usual place.
    pub(crate) fn new(program: Option<PathBuf>, runtime_directory: PathBuf) -> Self {
        let usual = || USUAL_PLACES.iter().map(PathBuf::from).find(|path| path.is_file());
        // Where it is nowhere, the error names the first place.
        let program = program.or_else(usual).unwrap_or_else(|| PathBuf::from("/usr/sbin/cryptsetup"));
        Self { program, runtime_directory }
    }

    /// A run of `cryptsetup VERB`.
    pub(super) fn run(&self, verb: &'static str) -> Run<'_> {
        Run { cryptsetup: self, verb, arguments: vec![verb.into()], pipes: Vec::new(), input: None }
    }
}

/// One run that is being put together.
pub(super) struct Run<'a> {
    cryptsetup: &'a Cryptsetup,
    verb: &'static str,
    arguments: Vec<OsString>,
    /// The reading ends of the pipes with keys.
    pipes: Vec<OwnedFd>,
    /// What it reads on standard input; nothing secret.
    input: Option<Vec<u8>>,
}

impl Run<'_> {
    /// One more argument; never a secret.
    pub(super) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// More arguments.
    pub(super) fn args(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(OsString::from));
        self
    }

    /// An argument that names a pipe which holds `key`.
    pub(super) fn key(self, key: &SecretBytes) -> Result<Self, CryptsetupError> {
        let (mut run, path) = self.pipe(key)?;
        run.arguments.push(path);
        Ok(run)
    }

    /// The path of a pipe which holds `key`, for an argument that comes later.
    pub(super) fn pipe(mut self, key: &SecretBytes) -> Result<(Self, OsString), CryptsetupError> {
        if key.is_empty() || key.len() > LONGEST_KEY {
            return Err(CryptsetupError::Key { found: key.len() });
        }
        let made = |source| CryptsetupError::Make { what: "a pipe", source };
        let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| made(errno.into()))?;
        std::fs::File::from(writing).write_all(key.expose()).map_err(made)?;
        // Only this end goes to the child.
        fcntl_setfd(&reading, FdFlags::empty()).map_err(|errno| made(errno.into()))?;
        let path = format!("/proc/self/fd/{}", reading.as_raw_fd()).into();
        self.pipes.push(reading);
        Ok((self, path))
    }

    /// What it reads on standard input; nothing secret.
    pub(super) fn input(mut self, input: Vec<u8>) -> Self {
        self.input = Some(input);
        self
    }

    /// Runs it on `device` to its end; what it wrote to standard output.
    pub(super) fn on(self, device: &Path, more: &[&OsStr]) -> Result<Vec<u8>, CryptsetupError> {
        let mut command = Command::new(&self.cryptsetup.program);
        command.args(&self.arguments).arg("--").arg(device).args(more);
        // Whatever stands in the environment is none of its business.
        command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let input = if self.input.is_some() { Stdio::piped() } else { Stdio::null() };
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
        let start = |source| CryptsetupError::Start { program: self.cryptsetup.program.clone(), source };
        let mut child = command.spawn().map_err(start)?;
        // The child has its own by now; a second reader would keep the key in the pipe.
        drop(self.pipes);
        if let (Some(text), Some(mut stdin)) = (&self.input, child.stdin.take()) {
            // One that does not read ends with a status that says more.
            let _said_below = stdin.write_all(text);
        }
        let output = child.wait_with_output().map_err(start)?;
        match output.status.code() {
            Some(0) if output.stdout.len() <= OUTPUT_LIMIT => Ok(output.stdout),
            Some(NO_KEY) => Err(CryptsetupError::NoKey { device: device.to_owned() }),
            status => Err(CryptsetupError::Failed {
                verb: self.verb,
                status: status.unwrap_or(-1),
                message: String::from_utf8_lossy(&output.stderr).trim().chars().take(MESSAGE_LIMIT).collect(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]

    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(directory: &Path, script: &str) -> Cryptsetup {
        let path = directory.join("cryptsetup");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        Cryptsetup::new(Some(path), directory.to_owned())
    }

    #[test]
    fn keys_come_through_pipes_and_stand_nowhere_else() {
        let directory = tempfile::tempdir().unwrap();
        let cryptsetup = program(directory.path(), "env >&2; echo \"$@\"; cat \"$3\" \"$4\"");
        let (first, second) = (SecretBytes::new(b"one\0\n".to_vec()), SecretBytes::new(b"two".to_vec()));
        let run = cryptsetup.run("luksAddKey").arg("--key-file").key(&first).unwrap().key(&second).unwrap();
        let said = run.on(Path::new("/dev/x"), &[]).unwrap();
        let text = String::from_utf8(said).unwrap();
        let (arguments, rest) = text.split_once('\n').unwrap();
        assert_eq!(rest, "one\0\ntwo");
        assert!(arguments.starts_with("luksAddKey --key-file /proc/self/fd/") && arguments.ends_with(" -- /dev/x"));
        assert!(!arguments.contains("one") && !arguments.contains("two"));
    }

    #[test]
    fn failures_say_which_step_and_what_it_said() {
        let directory = tempfile::tempdir().unwrap();
        let cryptsetup = program(directory.path(), "echo no such thing >&2; exit ${1#v}");
        let failed = cryptsetup.run("v4").on(Path::new("/dev/x"), &[]).unwrap_err();
        assert_eq!(failed.to_string(), "cryptsetup v4 ended with status 4: no such thing");
        let no_key = cryptsetup.run("v2").on(Path::new("/dev/x"), &[]).unwrap_err();
        assert_eq!(no_key.to_string(), "expected the key to open /dev/x");
        for key in [0, LONGEST_KEY + 1] {
            assert!(cryptsetup.run("open").key(&SecretBytes::new(vec![1; key])).is_err());
        }
        let nowhere = Cryptsetup::new(Some("/nonexistent".into()), directory.path().to_owned());
        assert!(matches!(nowhere.run("open").on(Path::new("/dev/x"), &[]), Err(CryptsetupError::Start { .. })));
    }
}

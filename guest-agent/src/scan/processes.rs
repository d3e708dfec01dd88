//! Environments of running processes.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::Path,
};

use keys::secret::SecretBytes;

use super::{Scan, ScanError};

/// Most bytes of one environment, and of a process's name.
const ENVIRONMENT: u64 = 1 << 20;
const NAME: u64 = 64;

impl Scan {
    /// Searches the environment of every process that `proc` (normally `/proc`) lists.
    ///
    /// # Errors
    /// When there is no such list; what may not be read is counted.
    pub(crate) fn processes(&mut self, proc: &Path) -> Result<(), ScanError> {
        let mut pids: Vec<u32> = Vec::new();
        for entry in fs::read_dir(proc).map_err(ScanError::Processes)? {
            let entry = entry.map_err(ScanError::Processes)?;
            pids.extend(entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
        }
        pids.sort_unstable();
        for pid in pids {
            let directory = proc.join(pid.to_string());
            match read(&directory.join("environ"), ENVIRONMENT) {
                Ok(environment) => {
                    let name = read(&directory.join("comm"), NAME).unwrap_or_else(|_gone| SecretBytes::new(Vec::new()));
                    let name = String::from_utf8_lossy(name.expose()).trim_end().to_owned();
                    self.environment(pid, &name, environment);
                }
                // It ended meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(3) => {}
                Err(_) => self.tally.unreadable = self.tally.unreadable.saturating_add(1),
            }
        }
        Ok(())
    }

    fn environment(&mut self, pid: u32, name: &str, environment: SecretBytes) {
        self.tally.processes = self.tally.processes.saturating_add(1);
        // One variable a line, as the rules know it from files.
        let lines: Vec<u8> = environment.expose().iter().map(|byte| if *byte == 0 { b'\n' } else { *byte }).collect();
        let lines = SecretBytes::new(lines);
        let text = lines.expose();
        for secret in self.secrets("", text, false) {
            let variable = variable_at(text, secret.start);
            let location = format!("process {pid} ({name}) environment {variable}");
            self.add("", secret, location, None);
        }
    }
}

/// The name of the variable in whose line `position` is.
fn variable_at(text: &[u8], position: usize) -> String {
    let before = text.get(..position).unwrap_or_default();
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |feed| feed.saturating_add(1));
    let line = text.get(start..).unwrap_or_default();
    // What has no name is not shown: it might be the value.
    let name = line.split(|byte| *byte == b'=').next().filter(|name| start.saturating_add(name.len()) < position);
    name.map_or_else(|| "?".to_owned(), |name| String::from_utf8_lossy(name).chars().take(128).collect())
}

fn read(path: &Path, most: u64) -> io::Result<SecretBytes> {
    let mut bytes = Vec::with_capacity(64 * 1024);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(SecretBytes::new(bytes))
}

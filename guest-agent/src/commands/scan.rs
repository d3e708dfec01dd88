//! `scan`: looks for static secrets, prints where they are, and tells the broker how many.

use std::path::Path;

use super::Guest;
use crate::{
    cli::ScanArgs,
    exchange::Ask,
    failure::Failure,
    output::Output,
    scan::{Limits, Rules, Scan, render},
};

/// Deepest directory.
const DEPTH: usize = 64;

/// Scans; what was found is the exit status, after everything is printed and told.
pub(super) fn scan(args: &ScanArgs, guest: &Guest) -> Result<(), Failure> {
    let rules = match &args.rules {
        Some(path) => Rules::read(path),
        None => Rules::built_in(),
    };
    let rules = rules.map_err(|error| Failure::Scan(error.into()))?;
    let limits = Limits { file_bytes: args.max_file_size, files: args.max_files, depth: DEPTH, binary: args.binary };
    let mut scan = Scan::new(rules, limits, args.fingerprint_key.as_deref())?;
    for path in &args.paths {
        scan.tree(path)?;
    }
    if args.processes {
        scan.processes(Path::new("/proc"))?;
    }
    scan.rank();
    let text = render(&scan, args.format);
    let text = text.map_err(|error| Failure::Make { what: "JSON", reason: error.to_string() })?;
    Output::Stdout.write(text.as_bytes())?;
    if args.report {
        let report = scan.guest_report();
        guest.ask(&args.broker, Ask { profile: None, grant: None, report: Some(&report) })?;
    }
    match (scan.findings.len(), scan.tally.is_complete()) {
        (0, true) => Ok(()),
        (0, false) => Err(Failure::Incomplete),
        (count, _) => Err(Failure::Found { count }),
    }
}

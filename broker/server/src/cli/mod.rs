//! The command line: one file per command.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

mod administrators;
mod audit;
mod break_glass;
mod client;
mod endorsements;
mod enrollments;
mod exceptions;
mod explain;
mod exposure;
mod federation;
mod files;
mod init;
mod inspect;
mod join_tokens;
mod keys;
mod man;
mod measure;
mod output;
mod policy;
mod reference_values;
mod revoke;
mod secrets;
mod serve;
mod ssh;
mod tenants;
mod token;
mod verify;
mod workloads;

/// Remote attestation broker: keys and short-lived credentials for guests that prove what they run.
#[derive(Debug, Parser)]
#[command(name = "countersign", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker
    Serve(serve::Args),
    /// Make a data directory, keys, certificates and the first admin credential, once
    Init(init::Args),
    /// Judge evidence in files, offline, with the core that the broker uses
    Verify(Box<verify::Args>),
    /// Parse a file and print what it says; nothing is checked
    Inspect(inspect::Args),
    /// Predict the measurements of an image, as reference values
    Measure(measure::Args),
    /// Store and list the secrets that affirmed guests may get
    Secrets(secrets::Args),
    /// Add, sign, compare and end the measurements that guests are compared with
    ReferenceValues(reference_values::Args),
    /// Set, show and test appraisal and release policies
    Policy(policy::Args),
    /// List, approve, revoke and pin the attestation keys of TPMs
    Enrollments(enrollments::Args),
    /// List and change the signing keys
    Keys(keys::Args),
    /// Say how much is out there by class of credentials, and for how long
    Exposure(exposure::Args),
    /// Trust other trust domains' identities: add, list, refresh and remove their bundles
    Federation(federation::Args),
    /// List the guests that attested, and what they hold
    Workloads(workloads::Args),
    /// Register, list and end the legacy static secrets that still exist
    Exceptions(exceptions::Args),
    /// Make the token with which the client of an exception brings its key, once
    JoinTokens(join_tokens::Args),
    /// Make, list and remove the credentials of administrators, auditors and observers
    Administrators(administrators::Args),
    /// List the tenants of the broker
    Tenants(tenants::Args),
    /// Ask for, and approve together, one release that the policies refuse
    BreakGlass(break_glass::Args),
    /// Show, export and check the audit log
    Audit(audit::Args),
    /// End leases, and give none again to what is revoked
    Revoke(revoke::Args),
    /// Show, fetch and carry the vendors' certificates, revocation lists and TCB documents
    Endorsements(endorsements::Args),
    /// Write the CA keys and revocation lists that sshd and ssh read
    Ssh(ssh::Args),
    /// Say why a decision was made
    Explain(Box<explain::Args>),
    /// Check tokens that the broker issued
    Token(token::Args),
    /// Write the manual, a page for each command
    Man(man::Args),
}

/// Parses the process's arguments and runs the command they name.
#[must_use]
pub fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Serve(args) => serve::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Measure(args) => measure::run(&args),
        Command::Secrets(args) => secrets::run(&args),
        Command::ReferenceValues(args) => reference_values::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Enrollments(args) => enrollments::run(&args),
        Command::Keys(args) => keys::run(&args),
        Command::Exposure(args) => exposure::run(&args),
        Command::Federation(args) => federation::run(&args),
        Command::Workloads(args) => workloads::run(&args),
        Command::Exceptions(args) => exceptions::run(&args),
        Command::JoinTokens(args) => join_tokens::run(&args),
        Command::Administrators(args) => administrators::run(&args),
        Command::Tenants(args) => tenants::run(&args),
        Command::BreakGlass(args) => break_glass::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Revoke(args) => revoke::run(&args),
        Command::Endorsements(args) => endorsements::run(&args),
        Command::Ssh(args) => ssh::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Man(args) => man::run(&args, Cli::command()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}

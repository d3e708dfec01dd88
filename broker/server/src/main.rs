//! The `countersign` binary: parses arguments and runs the command.

use std::process::ExitCode;

fn main() -> ExitCode {
    countersign::cli::main()
}

//! `countersign man`

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::Command;

use super::output;

/// Arguments of `countersign man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory that gets the pages, for example /usr/local/share/man/man1
    #[arg(value_name = "DIR")]
    directory: PathBuf,
}

/// Writes a page for `command` and for each command below it.
pub(crate) fn run(args: &Args, command: Command) -> ExitCode {
    let what = || format!("expected to write pages to {}", args.directory.display());
    output::finish(clap_mangen::generate_to(command, &args.directory).with_context(what), output::USAGE)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::fs;

    use clap::CommandFactory;

    use super::{Args, ExitCode, run};
    use crate::cli::Cli;

    #[test]
    fn each_command_has_a_page_that_names_it_and_its_options() {
        let directory = tempfile::tempdir().unwrap();
        let args = Args { directory: directory.path().to_owned() };
        assert_eq!(run(&args, Cli::command()), ExitCode::SUCCESS);
        for command in Cli::command().get_subcommands() {
            let page =
                fs::read_to_string(directory.path().join(format!("countersign-{}.1", command.get_name()))).unwrap();
            let title = format!(".TH countersign-{}", command.get_name());
            assert!(page.contains(&title), "{title}");
            let about = command.get_about().unwrap().to_string().replace('-', "\\-").replace('\'', "\\*(Aq");
            assert!(page.contains(&about), "{about}");
        }
        let verify = fs::read_to_string(directory.path().join("countersign-verify.1")).unwrap();
        assert!(verify.contains("trust\\-anchor"), "{verify}");
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let args = Args { directory: directory.path().join("absent") };
        assert_eq!(run(&args, Cli::command()), ExitCode::from(2));
    }
}

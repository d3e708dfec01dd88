//! `countersign measure uki`: PCRs.

use evidence_formats::digest::{Digest, HashAlgorithm};
use verifier::{
    measure::boot::{Phases, Template, pcrs},
    reference::{HexDigest, Measurement, RegisterName},
};

use super::{
    Failure, Prediction,
    boot::{BootArgs, BootInputs, Predicted},
    set::SetArgs,
};

/// PCRs that are pinned when nobody says which, as far as they are predicted.
const DEFAULT_PCRS: [u8; 5] = [4, 5, 7, 9, 11];
/// What systemd-stub extends when somebody changed the command line or added extensions: zero in a boot of the image alone.
const UNTOUCHED: [u8; 2] = [12, 13];

/// Arguments of `countersign measure uki`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
PCR 4 holds the images that ran, 5 the partition table, 7 the Secure Boot state, 9 command line and initrd as the kernel got
them, 11 the sections of the image. PCR 12 and 13 are pinned to zero for an image: command line overrides and extensions are
measured there. PCR 0 to 3 and 7 depend on firmware and machine: they come from --event-log-template.

Examples:
  The PCRs that the image alone determines, before and within the initrd:
    countersign measure uki --image linux.efi --set web-azure --workload web --platform azure --format json

  With the partition table of its disk, and the Secure Boot state of a recorded boot:
    countersign measure uki --image linux.efi --disk disk.raw \\
        --event-log-template binary_bios_measurements --pcrs 4,5,7,11,12,13 --set web-vtpm

  A kernel beside the firmware:
    countersign measure uki --kernel vmlinuz --initrd initrd.zst --cmdline 'console=ttyS0' --set web-direct")]
pub(super) struct Args {
    #[command(flatten)]
    boot: BootArgs,
    /// Bank of the PCRs
    #[arg(long, value_name = "BANK", default_value = "sha256", value_parser = bank)]
    bank: HashAlgorithm,
    /// Moments of the boot, each an alternative: none (before the first phase) or phases joined by colons, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "none,enter-initrd", value_parser = phases)]
    phases: Vec<Phases>,
    /// PCRs to pin, separated by commas [default: those of 4, 5, 7, 9 and 11 that are predicted, and 12 and 13 of an image]
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = clap::value_parser!(u8).range(0..16))]
    pcrs: Vec<u8>,
    #[command(flatten)]
    pub(super) set: SetArgs,
}

fn bank(text: &str) -> Result<HashAlgorithm, String> {
    match HashAlgorithm::from_name(text) {
        Some(bank @ (HashAlgorithm::Sha256 | HashAlgorithm::Sha384)) => Ok(bank),
        _ => Err("expected sha256 or sha384".to_owned()),
    }
}

fn phases(text: &str) -> Result<Phases, String> {
    text.parse::<Phases>().map_err(|error| error.to_string())
}

/// Computes the PCRs.
///
/// # Errors
/// [`Failure`] when a file cannot be read, or a PCR that was asked for is not determined.
pub(super) fn predict(args: &Args) -> Result<Prediction, Failure> {
    let inputs = args.boot.read()?;
    if !inputs.has_source() {
        return Err(Failure::Usage(anyhow::anyhow!("expected --image or --kernel")));
    }
    let steps = inputs.steps(args.bank)?;
    let mut predicted = match inputs.template() {
        Some(log) => Predicted::from_template("pcr", Template::Tpm { log, bank: args.bank }, &steps)?,
        None => Predicted::from_files("pcr", &pcrs(args.bank, &steps)),
    };
    if inputs.is_uki() {
        predicted.values.extend(UNTOUCHED.map(|pcr| (format!("pcr{pcr}"), Digest::zero(args.bank))));
    }
    let names = names(args, &inputs, &predicted);
    predicted.notes.retain(|note| names.iter().any(|name| note.starts_with(name)) || note.contains("not predicted"));
    let mut measurements = Vec::new();
    for moment in moments(args, &inputs) {
        if let (Some(uki), Some(moment)) = (inputs.uki()?, &moment) {
            predicted.values.insert("pcr11".to_owned(), uki.pcr11(args.bank, moment));
        }
        let runtime = predicted.pins(&names)?;
        measurements.push(Measurement { name: moment.map(|moment| name(&moment)), runtime, ..Measurement::default() });
    }
    let mut sources = inputs.sources();
    sources.push(format!("bank {}", args.bank));
    Ok(Prediction { measurements: distinct(measurements), sources, notes: predicted.notes })
}

/// Moments of the boot of an image; a kernel alone has none.
fn moments(args: &Args, inputs: &BootInputs) -> Vec<Option<Phases>> {
    if inputs.is_uki() { args.phases.iter().cloned().map(Some).collect() } else { vec![None] }
}

fn name(moment: &Phases) -> String {
    if moment.is_empty() { "before the first phase".to_owned() } else { format!("after {moment}") }
}

fn names(args: &Args, inputs: &BootInputs, predicted: &Predicted) -> Vec<String> {
    if !args.pcrs.is_empty() {
        return args.pcrs.iter().map(|pcr| format!("pcr{pcr}")).collect();
    }
    let untouched = UNTOUCHED.into_iter().filter(|_| inputs.is_uki());
    let names = DEFAULT_PCRS.into_iter().chain(untouched).map(|pcr| format!("pcr{pcr}"));
    names.filter(|name| predicted.values.contains_key(name)).collect()
}

/// Without PCR 11 all moments look the same: then one alternative is enough.
fn distinct(measurements: Vec<Measurement>) -> Vec<Measurement> {
    let runtime = |measurement: &Measurement| -> Vec<(RegisterName, HexDigest)> {
        measurement.runtime.iter().map(|(name, value)| (name.clone(), value.clone())).collect()
    };
    let mut kept: Vec<Measurement> = Vec::new();
    for measurement in measurements {
        if !kept.iter().any(|other| runtime(other) == runtime(&measurement)) {
            kept.push(measurement);
        }
    }
    kept
}

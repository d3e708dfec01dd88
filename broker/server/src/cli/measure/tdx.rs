//! `countersign measure tdx`: MRTD and RTMRs.

use std::path::PathBuf;

use clap::ValueEnum;
use evidence_formats::digest::HashAlgorithm;
use verifier::{
    measure::{
        boot::{Template, rtmrs},
        firmware::Firmware,
        tdx::{PageOrder, mrtd},
    },
    reference::Measurement,
};

use super::{
    Failure, Prediction,
    boot::{BootArgs, Predicted},
    inputs::Input,
    set::SetArgs,
};

/// Arguments of `countersign measure tdx`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
MRTD covers the firmware. RTMR1 holds the images that ran and the partition table, RTMR2 kernel, initrd and command line.
RTMR0 holds the memory map, ACPI tables and boot variables, which the host makes: it is predicted only with the log of an
earlier boot on a machine of the same shape (--event-log-template). RTMR3 belongs to the running guest and is not pinned.

Examples:
  Firmware and a kernel beside it:
    countersign measure tdx --firmware OVMF.inteltdx.fd --kernel vmlinuz --initrd initrd.zst --cmdline 'console=ttyS0' \\
        --set web-tdx --format json

  A unified kernel image from a disk, with RTMR0 of a recorded boot:
    countersign measure tdx --firmware OVMF.inteltdx.fd --image linux.efi --disk disk.raw \\
        --event-log-template ccel.bin --set web-tdx")]
pub(super) struct Args {
    /// TDVF image
    #[arg(long, value_name = "FILE")]
    firmware: PathBuf,
    /// In which order the host adds and measures pages
    #[arg(long, value_enum, default_value = "interleaved")]
    page_order: Order,
    #[command(flatten)]
    boot: BootArgs,
    #[command(flatten)]
    pub(super) set: SetArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Order {
    /// Each page is added and measured, then the next
    Interleaved,
    /// All pages of a section are added, then all are measured
    TwoPasses,
}

impl From<Order> for PageOrder {
    fn from(order: Order) -> Self {
        match order {
            Order::Interleaved => Self::Interleaved,
            Order::TwoPasses => Self::TwoPasses,
        }
    }
}

/// Computes the registers.
///
/// # Errors
/// [`Failure`] when a file cannot be read or the firmware has no TDX metadata.
pub(super) fn predict(args: &Args) -> Result<Prediction, Failure> {
    let input = Input::firmware("firmware", &args.firmware)?;
    let inputs = args.boot.read()?;
    let firmware = Firmware::parse(&input.bytes).map_err(|error| Failure::refused(&error))?;
    let launch = mrtd(&firmware, args.page_order.into()).map_err(|error| Failure::refused(&error))?;
    let mut predicted = Predicted::default();
    if inputs.has_source() {
        let steps = inputs.steps(HashAlgorithm::Sha384)?;
        predicted = match inputs.template() {
            Some(log) => {
                let sections = firmware.tdx_sections().map_err(|error| Failure::refused(&error))?;
                Predicted::from_template("rtmr", Template::Tdx { log, sections: &sections }, &steps)?
            }
            None => Predicted::from_files("rtmr", &rtmrs(&steps)),
        };
    } else {
        predicted.notes.push(
            "MRTD covers the firmware alone: give what it boots as well (--image or --kernel), or every guest with this \
             firmware is this workload"
                .to_owned(),
        );
    }
    if inputs.template().is_none() {
        predicted.notes.push(
            "rtmr0 is not predicted: it holds the memory map and the ACPI tables, which the host makes; \
             take them from a recorded log with --event-log-template"
                .to_owned(),
        );
    }
    let names: Vec<String> = predicted.values.keys().filter(|name| *name != "rtmr3").cloned().collect();
    let measurement = Measurement { launch: Some(launch), runtime: predicted.pins(&names)?, ..Measurement::default() };
    let mut sources = vec![input.source()];
    sources.extend(inputs.sources());
    if let Order::TwoPasses = args.page_order {
        sources.push("pages added in two passes".to_owned());
    }
    Ok(Prediction { measurements: vec![measurement], sources, notes: predicted.notes })
}

//! The reference set around the predicted measurements.

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use evidence_formats::code::Coded;
use verifier::{
    Platform, Timestamp,
    reference::{Measurement, ReferenceSet, ReferenceValues, SetId, SetKind, WorkloadName},
};

use super::{Failure, Prediction};
use crate::{
    cli::output::{self, Format, Table},
    clock,
};

/// How long a set holds when nobody says until when: half a year.
const DEFAULT_VALIDITY: i64 = 180 * 24 * 3600;

/// What the set says beside its measurements.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The reference set")]
pub(super) struct SetArgs {
    /// Id of the set
    #[arg(long, value_name = "NAME")]
    set: SetId,
    /// Version of the set; a version is used once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    set_version: u32,
    /// The workload that grants are made to [default: the id of the set]
    #[arg(long, value_name = "NAME")]
    workload: Option<WorkloadName>,
    /// What the measurements identify
    #[arg(long, value_enum, default_value = "workload")]
    kind: Kind,
    /// When the set begins to hold [default: now]
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse_rfc3339)]
    not_before: Option<Timestamp>,
    /// When it ends [default: 180 days after it begins]
    #[arg(long, value_name = "RFC3339", value_parser = Timestamp::parse_rfc3339)]
    not_after: Option<Timestamp>,
    /// Where the files come from, for people; stands before their digests
    #[arg(long, value_name = "TEXT")]
    provenance: Option<String>,
    /// Hardware models that may run it, separated by commas [default: any]
    #[arg(long, value_name = "MODEL", value_delimiter = ',')]
    hwmodel: Vec<String>,
    /// Whose machines may run it [default: any]
    #[arg(long, value_enum)]
    platform: Option<Machine>,
    /// How the result is printed; json is the document that `reference-values add` reads
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    /// The workload itself
    Workload,
    /// The layer that runs a virtual TPM below it (paravisor, SVSM)
    Paravisor,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Machine {
    /// No cloud that the evidence tells
    Bare,
    /// Microsoft Azure
    Azure,
    /// Google Cloud
    Gcp,
    /// Amazon Web Services
    Aws,
    /// Not hardware
    Simulated,
}

impl From<Kind> for SetKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Workload => Self::Workload,
            Kind::Paravisor => Self::Paravisor,
        }
    }
}

impl From<Machine> for Platform {
    fn from(machine: Machine) -> Self {
        match machine {
            Machine::Bare => Self::Bare,
            Machine::Azure => Self::Azure,
            Machine::Gcp => Self::Gcp,
            Machine::Aws => Self::Aws,
            Machine::Simulated => Self::Simulated,
        }
    }
}

impl SetArgs {
    /// Prints the set with these measurements; the notes go to stderr.
    ///
    /// # Errors
    /// When the set breaks a rule of reference values, such as a validity that ends before it begins.
    pub(super) fn report(&self, prediction: &Prediction) -> Result<(), Failure> {
        let set = self.reference_set(prediction)?;
        let mut values = ReferenceValues::new();
        values.insert(set.clone()).map_err(|error| Failure::Usage(anyhow!("{}: {error}", error.code())))?;
        for note in &prediction.notes {
            output::complain(&format!("note: {note}"));
        }
        match self.format {
            Format::Json => output::print_json(&values),
            Format::Text => output::print(&text(&set, prediction)),
        }
        Ok(())
    }

    fn reference_set(&self, prediction: &Prediction) -> Result<ReferenceSet, Failure> {
        let not_before = self.not_before.unwrap_or_else(clock::now);
        let workload = match &self.workload {
            Some(workload) => workload.clone(),
            None => self.set.as_str().parse().map_err(|error: &str| anyhow!(error)).context("--workload")?,
        };
        let computed = format!("countersign measure: {}", prediction.sources.join(", "));
        let measurements = prediction.measurements.iter().cloned().map(|measurement| Measurement {
            hwmodel: self.hwmodel.clone(),
            platform: self.platform.map(Platform::from),
            ..measurement
        });
        Ok(ReferenceSet {
            id: self.set.clone(),
            version: self.set_version,
            workload,
            kind: self.kind.into(),
            not_before,
            not_after: self.not_after.unwrap_or_else(|| not_before.plus_seconds(DEFAULT_VALIDITY)),
            retire_at: None,
            revoked_at: None,
            proposed: false,
            provenance: self.provenance.iter().cloned().chain([computed]).collect::<Vec<_>>().join("; "),
            measurements: measurements.collect(),
        })
    }
}

/// The set for people: what it is, each pinned value on a line, and what it was computed from.
fn text(set: &ReferenceSet, prediction: &Prediction) -> String {
    let mut table = Table::new(&["ALTERNATIVE", "PINS", "VALUE"]);
    for measurement in &set.measurements {
        let name = measurement.name.as_deref().unwrap_or("-");
        let mut row = |what: &str, value: String| table.row([name.to_owned(), what.to_owned(), value]);
        if let Some(launch) = &measurement.launch {
            row("launch", launch.to_string());
        }
        // rtmr0 before rtmr1, pcr9 before pcr11.
        let mut runtime: Vec<_> = measurement.runtime.iter().collect();
        runtime.sort_by_key(|(register, _)| (register.as_str().len(), *register));
        for (register, value) in runtime {
            row(register.as_str(), value.as_str().to_owned());
        }
    }
    format!(
        "{} version {} identifies the workload {} from {} until {}\n\n{}\ncomputed from\n  {}\n",
        set.id,
        set.version,
        set.workload,
        set.not_before,
        set.not_after,
        table.render(),
        prediction.sources.join("\n  "),
    )
}

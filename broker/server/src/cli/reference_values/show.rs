//! Sets and their history in words.

use anyhow::Result;
use serde::{Deserialize, Serialize};
use verifier::reference::{EventValue, Measurement, ReferenceSet, ReferenceValues, SetId, SetKind};

use super::{
    super::{
        client::AdminArgs,
        output::{self, Format, Table},
    },
    PATH,
};

/// One line of the history, as the API describes it.
#[derive(Debug, Serialize, Deserialize)]
struct Event {
    id: String,
    version: u32,
    changed_at: String,
    change: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    effective_at: Option<String>,
    author: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    digest: String,
    leases_ended: u32,
}

/// Prints what sets pin.
pub(super) fn sets(values: &ReferenceValues, format: Format) {
    match format {
        Format::Json => output::print_json(values),
        Format::Text => output::print(&values.sets().iter().map(in_words).collect::<Vec<_>>().join("\n")),
    }
}

fn in_words(set: &ReferenceSet) -> String {
    let kind = match set.kind {
        SetKind::Workload => "workload",
        SetKind::Paravisor => "paravisor of",
    };
    let mut text = format!(
        "{} v{}: {kind} {}, {}\n  holds from {} until {}\n  provenance: {}\n",
        set.id,
        set.version,
        set.workload,
        set.state(),
        set.not_before,
        set.holds_until(),
        set.provenance,
    );
    if let Some(at) = set.revoked_at {
        text.push_str(&format!("  revoked {at}\n"));
    }
    for (place, measurement) in (1_usize..).zip(&set.measurements) {
        let name = measurement.name.clone().unwrap_or_else(|| format!("alternative {place}"));
        text.push_str(&format!("  {name}\n"));
        for (what, value) in pins(measurement) {
            text.push_str(&format!("    {what}: {value}\n"));
        }
    }
    text
}

fn pins(measurement: &Measurement) -> Vec<(String, String)> {
    let plain = [
        ("hwmodel", (!measurement.hwmodel.is_empty()).then(|| measurement.hwmodel.join(" or "))),
        ("platform", measurement.platform.map(|platform| platform.as_str().to_owned())),
        ("launch", measurement.launch.map(|digest| digest.to_string())),
        ("host_data", measurement.host_data.as_ref().map(ToString::to_string)),
        ("id_key_digest", measurement.id_key_digest.map(|digest| digest.to_string())),
        ("author_key_digest", measurement.author_key_digest.map(|digest| digest.to_string())),
        ("guest_svn", measurement.min_guest_svn.map(|least| format!("at least {least}"))),
    ];
    let mut pins: Vec<(String, String)> =
        plain.into_iter().filter_map(|(what, value)| Some((what.to_owned(), value?))).collect();
    pins.extend(measurement.runtime.iter().map(|(register, value)| (register.to_string(), value.to_string())));
    for (register, events) in &measurement.events {
        pins.extend(events.0.iter().map(|(name, values)| {
            let values = values.iter().map(EventValue::as_str).collect::<Vec<_>>();
            (format!("{name} in {register}"), values.join(", "))
        }));
    }
    pins
}

/// Prints who changed what.
pub(super) fn history(id: Option<&SetId>, admin: &AdminArgs) -> Result<()> {
    let query = id.map(|id| format!("?id={id}")).unwrap_or_default();
    let events: Vec<Event> = admin.client()?.get(&format!("{PATH}/history{query}"))?;
    match admin.format {
        Format::Json => output::print_json(&events),
        Format::Text => {
            let mut table =
                Table::new(&["WHEN", "ID", "VERSION", "CHANGE", "FROM", "LEASES ENDED", "BY", "DIGEST", "REASON"]);
            for event in events {
                table.row([
                    event.changed_at,
                    event.id,
                    event.version.to_string(),
                    event.change,
                    event.effective_at.unwrap_or_else(|| "-".to_owned()),
                    event.leases_ended.to_string(),
                    event.author,
                    event.digest.chars().take(16).collect(),
                    event.reason.unwrap_or_default(),
                ]);
            }
            output::print(&table.render());
        }
    }
    Ok(())
}

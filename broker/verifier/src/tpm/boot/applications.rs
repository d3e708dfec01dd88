//! PCR 4: what ran before the operating system.

use evidence_formats::eventlog::{Event, EventType};

use super::{BootLogError, ProvenLog};

const BOOT_PCR: u8 = 4;
/// Firmware measures these into PCR 5 when the operating system takes over (PFP 1.05 section 10.4.4).
const EXIT_BOOT_SERVICES: [&[u8]; 2] = [b"Exit Boot Services Invocation", b"Exit Boot Services Returned with Success"];

/// Digests of every boot application. Types are not measured, so whatever is neither a proven text of the firmware nor
/// the separator counts as an application, and none may come after the hand-over.
pub(super) fn read(log: &ProvenLog<'_>) -> Result<Option<Vec<String>>, BootLogError> {
    let mut applications = Vec::new();
    let mut handed_over = false;
    for event in &log.events {
        if event.register == 5 && is_exit(event, log) {
            handed_over = true;
        }
        if event.register != u32::from(BOOT_PCR) || event.kind == EventType::SEPARATOR || is_action(event, log) {
            continue;
        }
        if handed_over {
            return Err(BootLogError::BootOrder { event: event.number });
        }
        applications.extend(event.digest(log.bank).map(|digest| digest.to_string()));
    }
    Ok(handed_over.then_some(applications))
}

fn is_exit(event: &Event<'_>, log: &ProvenLog<'_>) -> bool {
    event.kind == EventType::EFI_ACTION && EXIT_BOOT_SERVICES.contains(&event.data) && event.data_is_measured(log.bank)
}

/// Printable text of the firmware that its digest proves, for example `Calling EFI Application from Boot Option`.
fn is_action(event: &Event<'_>, log: &ProvenLog<'_>) -> bool {
    event.kind == EventType::EFI_ACTION
        && event.text().is_some_and(|text| text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()))
        && event.data_is_measured(log.bank)
}

//! VMs that are not what they should be.

use e2e::paravisor::AzureGuest;
use softtee::swtpm::is_installed;

use crate::{SECRET, TDX, assert_refused, booted, broker, broker_with};

#[test]
fn another_image_is_refused() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    for state in ["", TDX] {
        let guest = AzureGuest::start(state).unwrap();
        assert_refused(&guest.get(&broker, "disk-key").unwrap(), "reference.no_match");
        let guest = booted(state);
        guest.tpm().unwrap().pcr_extend(11, &[crate::measured()]).unwrap();
        assert_refused(&guest.get(&broker, "disk-key").unwrap(), "reference.no_match");
    }
}

/// Anybody can run a paravisor of his own on genuine hardware: without its measurement the TPM proves nothing.
#[test]
fn a_paravisor_that_is_in_no_reference_set_is_refused() {
    if !is_installed() {
        return;
    }
    let others = format!("{:?}", "5e".repeat(48));
    let broker = broker_with(&others);
    for (state, measurement) in [("", "[snp]\nmeasurement"), (TDX, "[tdx]\nmr_td")] {
        let guest = booted(state);
        assert_refused(&guest.get(&broker, "disk-key").unwrap(), "release.");
        guest.becomes(&format!("{state}{measurement} = {others}\n")).unwrap();
        let said = guest.get(&broker, "disk-key").unwrap();
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{}", said.stderr);
    }
}

#[test]
fn a_key_that_the_paravisor_does_not_name_is_refused() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    for state in ["", TDX] {
        let guest = booted(state);
        guest.becomes(&format!("{state}[paravisor]\nak = \"foreign\"\n")).unwrap();
        assert_refused(&guest.get(&broker, "disk-key").unwrap(), "authenticate.tpm.");
        // None at all is seen by the agent.
        guest.becomes(&format!("{state}[paravisor]\nak = \"zero\"\n")).unwrap();
        let said = guest.get(&broker, "disk-key").unwrap();
        assert_eq!((said.status, said.stdout.as_slice()), (4, b"".as_slice()), "{}", said.stderr);
    }
}

#[test]
fn a_debuggable_or_outdated_vm_is_refused_as_without_a_paravisor() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    let table = [
        ("[snp]\npolicy = 0xb0137\n".to_owned(), "baseline.snp.debug"),
        ("[snp]\nrogue = true\n".to_owned(), "authenticate.snp."),
        (format!("{TDX}[tdx]\nattributes = 0x10000001\n"), "baseline.tdx.debug"),
        (format!("{TDX}[tdx]\noutdated = true\n"), "baseline.tdx.tcb_status"),
        (format!("{TDX}[tdx]\nrogue = true\n"), "authenticate.tdx."),
    ];
    for (state, code) in table {
        assert_refused(&booted(&state).get(&broker, "disk-key").unwrap(), code);
    }
}

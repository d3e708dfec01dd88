//! What works.

use softtee::swtpm::is_installed;

use crate::{SECRET, TDX, booted, broker};

#[test]
fn a_vm_on_snp_or_tdx_gets_its_key() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    for state in ["", TDX] {
        let guest = booted(state);
        // Again and again: each time the paravisor makes a new report.
        for _ in 0..2 {
            let said = guest.get(&broker, "disk-key").unwrap();
            assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{state}: {}", said.stderr);
            assert_eq!(said.stderr, "");
        }
    }
}

#[test]
fn certificates_that_the_broker_has_itself_may_be_missing_and_a_quote_may_not() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    for fault in ["unavailable", "garbage", "endless", "hangs-up"] {
        let faulty = format!("[paravisor]\nmetadata = \"{fault}\"\n");
        let said = booted(&faulty).get(&broker, "disk-key").unwrap();
        assert_eq!((said.status, said.stdout.as_slice()), (0, SECRET), "{fault}: {}", said.stderr);
        assert!(said.stderr.contains("warning: left out the processor's certificates"), "{fault}: {}", said.stderr);
        let said = booted(&format!("{TDX}{faulty}")).get(&broker, "disk-key").unwrap();
        assert_eq!((said.status, said.stdout.as_slice()), (4, b"".as_slice()), "{fault}: {}", said.stderr);
        assert!(said.stderr.contains("metadata service"), "{fault}: {}", said.stderr);
    }
}

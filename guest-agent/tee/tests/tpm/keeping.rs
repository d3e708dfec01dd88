//! Secrets that a TPM keeps over reboots, within limits that it checks itself.

use std::collections::BTreeMap;

use evidence_formats::digest::{Digest, HashAlgorithm};
use softtee::swtpm::SwTpm;
use tee::tpm::{ClockLimits, KeptObject, Pcrs, Tpm, TpmError};

use crate::{bare, said};

const BANK: HashAlgorithm = HashAlgorithm::Sha256;
const SECRET: &[u8] = b"32 bytes that encrypt a disk key";

fn pcrs() -> Pcrs {
    Pcrs::new(BANK, [4, 11])
}

/// Far away, and `resets` more starts.
fn limits(tpm: &Tpm, resets: u32) -> ClockLimits {
    let now = tpm.clock().unwrap();
    ClockLimits {
        clock: now.clock.saturating_add(3_600_000),
        resets: now.resets.saturating_add(resets),
        restarts: now.restarts,
    }
}

fn boot(tpm: &Tpm, kernel: u8) -> BTreeMap<u8, Digest> {
    tpm.pcr_extend(4, &[Digest::filled(BANK, kernel)]).unwrap();
    tpm.pcr_read(&pcrs()).unwrap()
}

/// A machine that has booted and keeps the secret for `resets` more starts.
fn keeping(resets: u32) -> Option<(SwTpm, KeptObject, ClockLimits)> {
    let (machine, tpm) = bare()?;
    let limits = limits(&tpm, resets);
    let kept = tpm.keep(SECRET, BANK, &boot(&tpm, 1), limits).unwrap();
    assert_eq!(tpm.open_kept(&kept, &pcrs(), limits).unwrap().as_slice(), SECRET);
    Some((machine, kept, limits))
}

#[test]
fn a_kept_secret_opens_after_as_many_starts_as_were_allowed() {
    let Some((mut machine, kept, limits)) = keeping(2) else { return };
    for _ in 0..2 {
        machine.restart().unwrap();
        let tpm = machine.connect().unwrap();
        boot(&tpm, 1);
        assert_eq!(tpm.open_kept(&kept, &pcrs(), limits).unwrap().as_slice(), SECRET);
    }
    machine.restart().unwrap();
    let tpm = machine.connect().unwrap();
    boot(&tpm, 1);
    assert_eq!(said(tpm.open_kept(&kept, &pcrs(), limits)), "TPM_RC_POLICY");
    // Other limits are another policy.
    let more = ClockLimits { resets: limits.resets + 1, ..limits };
    assert_eq!(said(tpm.open_kept(&kept, &pcrs(), more)), "TPM_RC_POLICY_FAIL");
}

#[test]
fn it_opens_under_no_other_pcr_values() {
    let Some((mut machine, kept, limits)) = keeping(9) else { return };
    machine.restart().unwrap();
    let tpm = machine.connect().unwrap();
    boot(&tpm, 2);
    assert_eq!(tpm.open_kept(&kept, &pcrs(), limits), Err(TpmError::MadeElsewhere));
    let fewer = Pcrs::new(BANK, [11]);
    assert_eq!(tpm.open_kept(&kept, &fewer, limits), Err(TpmError::MadeElsewhere));
}

#[test]
fn the_tpm_s_own_clock_ends_it() {
    let Some((mut machine, tpm)) = bare() else { return };
    drop(tpm);
    machine.restart().unwrap();
    let tpm = machine.connect().unwrap();
    let values = boot(&tpm, 1);
    let now = tpm.clock().unwrap();
    for over in [
        ClockLimits { clock: now.clock - 1, resets: now.resets, restarts: now.restarts },
        ClockLimits { clock: u64::MAX, resets: now.resets - 1, restarts: now.restarts },
    ] {
        let kept = tpm.keep(SECRET, BANK, &values, over).unwrap();
        assert_eq!(said(tpm.open_kept(&kept, &pcrs(), over)), "TPM_RC_POLICY");
        let later = ClockLimits { clock: u64::MAX, resets: u32::MAX, restarts: now.restarts };
        assert_eq!(said(tpm.open_kept(&kept, &pcrs(), later)), "TPM_RC_POLICY_FAIL");
    }
}

#[test]
fn it_opens_in_no_other_tpm_and_not_when_it_was_changed() {
    let Some((machine, kept, limits)) = keeping(9) else { return };
    let Some((_other, elsewhere)) = bare() else { return };
    boot(&elsewhere, 1);
    assert!(elsewhere.open_kept(&kept, &pcrs(), limits).is_err());
    let tpm = machine.connect().unwrap();
    let bent: [fn(&mut KeptObject); 4] = [
        |kept| *kept.public.last_mut().unwrap() ^= 1,
        |kept| *kept.private.last_mut().unwrap() ^= 1,
        |kept| *kept.creation.last_mut().unwrap() ^= 1,
        |kept| *kept.ticket.last_mut().unwrap() ^= 1,
    ];
    for bend in bent {
        let mut bent = kept.clone();
        bend(&mut bent);
        assert!(tpm.open_kept(&bent, &pcrs(), limits).is_err());
    }
    assert_eq!(tpm.open_kept(&kept, &pcrs(), limits).unwrap().as_slice(), SECRET);
}

/// Something else that ran on the machine leaves a secret of its choice, under the policy that the good boot satisfies.
#[test]
fn what_was_made_under_other_pcr_values_is_not_believed() {
    let Some((mut machine, tpm)) = bare() else { return };
    let limits = limits(&tpm, 9);
    let good = boot(&tpm, 1);
    drop(tpm);
    machine.restart().unwrap();
    let tpm = machine.connect().unwrap();
    boot(&tpm, 2);
    let planted = tpm.keep(b"a key that the host knows", BANK, &good, limits).unwrap();
    drop(tpm);
    machine.restart().unwrap();
    let tpm = machine.connect().unwrap();
    boot(&tpm, 1);
    assert_eq!(tpm.open_kept(&planted, &pcrs(), limits), Err(TpmError::MadeElsewhere));
    // Nor with the creation data of an object that was made under the good ones: it is the ticket of that one.
    let honest = tpm.keep(SECRET, BANK, &good, limits).unwrap();
    let mixed = KeptObject { creation: honest.creation, ticket: honest.ticket, ..planted };
    assert_eq!(said(tpm.open_kept(&mixed, &pcrs(), limits)), "TPM_RC_TICKET");
}

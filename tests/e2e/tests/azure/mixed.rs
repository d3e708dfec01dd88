//! Genuine pieces that do not belong together, put into one bundle by an attacker inside.

use std::{thread::sleep, time::Duration};

use e2e::{broker::Broker, http::attest_request, paravisor::AzureGuest};
use evidence_formats::{
    bundle::{Bundle, BundleItem, ItemName},
    hcl::HclReport,
};
use keys::{jwk::TeeKeyType, random::SystemRandom, tee_key::TeeKeyPair};
use serde_json::Value;
use softtee::swtpm::is_installed;
use tee::tpm::NvIndex;

use crate::{TDX, booted, broker};

/// `bundle` with another item of this name.
fn with(bundle: &Bundle, name: ItemName, bytes: &[u8]) -> Bundle {
    let mut mixed = Bundle::new();
    for (other, item) in bundle.items() {
        let bytes = if other == name { bytes } else { &item.bytes };
        mixed.insert(other, BundleItem { media_type: item.media_type, bytes: bytes.to_vec() }).unwrap();
    }
    mixed
}

fn item(bundle: &Bundle, name: ItemName) -> Vec<u8> {
    bundle.item(name).unwrap().bytes.clone()
}

/// The paravisor's report when it is next made anew: nobody wrote anything since the last evidence.
fn report(guest: &AzureGuest) -> Vec<u8> {
    sleep(Duration::from_millis(300));
    guest.tpm().unwrap().nv_read(NvIndex(0x0140_0001)).unwrap()
}

/// Evidence for a fresh challenge, changed by `change`, and what the broker says to it.
fn code(broker: &Broker, guest: &AzureGuest, change: impl FnOnce(&Bundle) -> Bundle) -> String {
    let client = broker.client().unwrap();
    let key = TeeKeyPair::generate(TeeKeyType::P256, &mut SystemRandom::new()).unwrap();
    let nonce = client.challenge().unwrap();
    let evidence = change(&guest.evidence(&nonce, key.public()).unwrap());
    let request = attest_request(&nonce, key.public(), &evidence, "disk-key").unwrap();
    let answer = client.send("POST", "/v1/attest", Some(&request)).unwrap();
    if answer.status == 200 { "accepted".to_owned() } else { answer.code().to_owned() }
}

#[test]
fn every_piece_must_carry_the_challenge() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    for state in ["", TDX] {
        let guest = booted(state);
        assert_eq!(code(&broker, &guest, Clone::clone), "accepted");
        let mut old = None;
        code(&broker, &guest, |bundle| old.insert(bundle.clone()).clone());
        let old = old.unwrap();
        // An old quote beside a fresh report; an old report, with its own TD quote, beside a fresh quote; all of it old.
        let stale_quote = code(&broker, &guest, |fresh| with(fresh, ItemName::Tpm, &item(&old, ItemName::Tpm)));
        assert_eq!(stale_quote, "binding.tpm.extra_data");
        let stale_report = code(&broker, &guest, |fresh| {
            let mixed = with(fresh, ItemName::Hcl, &item(&old, ItemName::Hcl));
            old.item(ItemName::Cpu).map_or(mixed.clone(), |quote| with(&mixed, ItemName::Cpu, &quote.bytes))
        });
        assert_eq!(stale_report, "binding.azure.user_data");
        assert_eq!(code(&broker, &guest, |_fresh| old.clone()), "binding.azure.user_data");
    }
}

#[test]
fn reports_of_a_broken_paravisor_are_refused() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    let guest = booted("");
    let table = [
        ("ak = \"zero\"", "parse.hcl.key"),
        ("bound = false", "authenticate.azure.claims_binding"),
        (&format!("user_data = \"{}\"", "07".repeat(64)), "binding.azure.user_data"),
    ];
    for (fault, expected) in table {
        guest.becomes("").unwrap();
        report(&guest);
        let found = code(&broker, &guest, |bundle| {
            guest.becomes(&format!("[paravisor]\n{fault}\n")).unwrap();
            with(bundle, ItemName::Hcl, &report(&guest))
        });
        assert_eq!(found, expected, "{fault}");
    }
}

#[test]
fn a_report_beside_a_vm_s_tpm_is_of_that_vm() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    for state in ["", TDX] {
        let (guest, other) = (booted(state), booted(state));
        let found = code(&broker, &guest, |bundle| {
            // The other VM's report with our user data: its key is another one.
            let hcl = HclReport::parse(&item(bundle, ItemName::Hcl)).unwrap();
            let claims = evidence_formats::hcl::RuntimeClaims::parse(hcl.claims()).unwrap();
            drop(code(&broker, &other, Clone::clone));
            other.tpm().unwrap().nv_write(NvIndex(0x0140_0002), &claims.user_data.unwrap().0).unwrap();
            let foreign = report(&other);
            let mixed = with(bundle, ItemName::Hcl, &foreign);
            if bundle.item(ItemName::Cpu).is_some() {
                with(&mixed, ItemName::Cpu, &td_quote(&other, &foreign))
            } else {
                mixed
            }
        });
        assert!(found.starts_with("authenticate.tpm."), "{found}");
    }
}

#[test]
fn a_quote_of_another_td_does_not_vouch_for_the_report() {
    if !is_installed() {
        return;
    }
    let broker = broker();
    let guest = booted(TDX);
    let found = code(&broker, &guest, |bundle| {
        guest.becomes(&format!("{TDX}[paravisor]\nmetadata = \"other-td\"\n")).unwrap();
        with(bundle, ItemName::Cpu, &td_quote(&guest, &item(bundle, ItemName::Hcl)))
    });
    assert_eq!(found, "authenticate.azure.td_report");
    // The agent sees it too.
    let said = guest.get(&broker, "disk-key").unwrap();
    assert_eq!((said.status, said.stdout.as_slice()), (4, b"".as_slice()));
    assert!(said.stderr.contains("expected a quote of the TDREPORT"), "{}", said.stderr);
}

/// What the metadata service quotes for a paravisor's report.
fn td_quote(guest: &AzureGuest, hcl: &[u8]) -> Vec<u8> {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let hcl = HclReport::parse(hcl).unwrap();
    let body = serde_json::json!({"report": BASE64_URL_SAFE_NO_PAD.encode(hcl.hardware_report())}).to_string();
    let answer: Value = serde_json::from_str(&guest.post_metadata("/acc/tdquote", &body).unwrap()).unwrap();
    BASE64_URL_SAFE_NO_PAD.decode(answer.get("quote").and_then(Value::as_str).unwrap()).unwrap()
}

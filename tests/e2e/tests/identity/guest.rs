//! A guest in this process: softtee's secure processor and the guest's side of the protocol.

use e2e::http::{Answer, Client};
use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::{Bundle, BundleItem, ItemName, MediaType},
    snp::ProductLine,
};
use keys::{
    grant::GrantPayload,
    jwk::TeeKeyType,
    lease::{LeaseAction, LeaseClaim, LeaseKey},
    random::SystemRandom,
    seal::Sealed,
    tee_key::TeeKeyPair,
};
use serde_json::{Value, json};
use softtee::amd::{ReportSpec, SecureProcessor};

/// A guest that attested.
pub(crate) struct Guest {
    client: Client,
    chip: SecureProcessor,
    pub(crate) key: TeeKeyPair,
    lease_key: Option<LeaseKey>,
    /// The id of the lease of its result.
    pub(crate) id: String,
}

impl Guest {
    pub(crate) fn new(client: Client) -> Self {
        let key = TeeKeyPair::generate(TeeKeyType::X25519, &mut SystemRandom::new()).unwrap();
        Self { client, chip: SecureProcessor::new(ProductLine::Milan), key, lease_key: None, id: String::new() }
    }

    /// A guest whose key can sign.
    pub(crate) fn with_key(client: Client, key: TeeKeyPair) -> Self {
        Self { key, ..Self::new(client) }
    }

    /// Speaks to somebody else from now on, with its key and its lease key.
    pub(crate) fn turn_to(&mut self, client: Client) {
        self.client = client;
    }

    fn evidence(&self, nonce: &Nonce, change: impl FnOnce(&mut ReportSpec)) -> Bundle {
        let mut report = self.chip.guest();
        report.report_data = BindingDigest::native(nonce, self.key.public()).unwrap().report_data();
        change(&mut report);
        let mut bundle = Bundle::new();
        let cpu = BundleItem { media_type: MediaType::SnpReport, bytes: self.chip.report(&report) };
        bundle.insert(ItemName::Cpu, cpu).unwrap();
        let bytes = self.chip.certificates().to_bytes();
        bundle.insert(ItemName::Certs, BundleItem { media_type: MediaType::SnpCertTable, bytes }).unwrap();
        bundle
    }

    /// A request with fresh evidence.
    pub(crate) fn request(&self, grants: Value, change: impl FnOnce(&mut ReportSpec)) -> (Nonce, Value) {
        let nonce = self.client.challenge().unwrap();
        let evidence = self.evidence(&nonce, change);
        let request = json!({
            "nonce": nonce,
            "tee_key": serde_json::to_value(self.key.public()).unwrap(),
            "evidence": serde_json::to_value(&evidence).unwrap(),
            "grants": grants,
            "renewable": true,
        });
        (nonce, request)
    }

    /// Attests with healthy evidence, whatever comes of it.
    pub(crate) fn try_attest(&self, grants: Value) -> Answer {
        let (_, request) = self.request(grants, |_| {});
        self.client.send("POST", "/v1/attest", Some(&request)).unwrap()
    }

    /// Attests for these grants and keeps the lease key.
    pub(crate) fn attest(&mut self, grants: Value) -> Value {
        let answer = self.try_attest(grants);
        assert_eq!(answer.status, 200, "{}", answer.text);
        let payload = self.open(&answer.body["lease_key"]);
        assert_eq!(payload.grant, "lease-key");
        self.lease_key = LeaseKey::from_bytes(&payload.value);
        self.id = answer.body["attestation_id"].as_str().unwrap().to_owned();
        answer.body
    }

    /// Opens what was sealed to this guest.
    pub(crate) fn open(&self, sealed: &Value) -> GrantPayload {
        let sealed: Sealed = serde_json::from_value(sealed.clone()).unwrap();
        GrantPayload::parse(&self.key.open(&sealed).unwrap()).unwrap()
    }

    fn authorization(&self, action: LeaseAction, lease: &str, nonce: &Nonce) -> String {
        let thumbprint = self.key.public().thumbprint();
        let tee_key = if action == LeaseAction::Renew { thumbprint.as_str() } else { "" };
        let claim = LeaseClaim { action, lease, nonce: nonce.as_bytes(), tee_key };
        format!("authorization: Lease {nonce}.{}\r\n", self.lease_key.as_ref().unwrap().prove(&claim))
    }

    /// Renews with evidence after `change`.
    pub(crate) fn renew(&self, lease: &str, grants: Value, change: impl FnOnce(&mut ReportSpec)) -> Answer {
        let (nonce, request) = self.request(grants, change);
        let header = self.authorization(LeaseAction::Renew, lease, &nonce);
        self.client.send_with("POST", &format!("/v1/leases/{lease}/renew"), &header, Some(&request)).unwrap()
    }

    /// The same request twice.
    pub(crate) fn renew_twice(&self, lease: &str) -> (Answer, Answer) {
        let (nonce, request) = self.request(json!([]), |_| {});
        let header = self.authorization(LeaseAction::Renew, lease, &nonce);
        let path = format!("/v1/leases/{lease}/renew");
        let send = || self.client.send_with("POST", &path, &header, Some(&request)).unwrap();
        (send(), send())
    }

    /// The newest trust bundles of a lease.
    pub(crate) fn bundles(&self, lease: &str) -> Answer {
        let nonce = self.client.challenge().unwrap();
        let header = self.authorization(LeaseAction::Bundles, lease, &nonce);
        self.client.send_with("GET", &format!("/v1/leases/{lease}/bundles"), &header, None).unwrap()
    }

    /// A request over a lease whose proof is over a nonce that the broker never gave.
    pub(crate) fn with_own_nonce(&self, action: LeaseAction, lease: &str) -> Answer {
        let nonce = "A".repeat(43).parse().unwrap();
        let header = self.authorization(action, lease, &nonce);
        let (method, path) = match action {
            LeaseAction::Renew => ("POST", format!("/v1/leases/{lease}/renew")),
            LeaseAction::Release => ("DELETE", format!("/v1/leases/{lease}")),
            LeaseAction::Bundles => ("GET", format!("/v1/leases/{lease}/bundles")),
            LeaseAction::Watch => ("GET", format!("/v1/leases/{lease}")),
        };
        self.client.send_with(method, &path, &header, None).unwrap()
    }

    /// Gives a lease back.
    pub(crate) fn release(&self, lease: &str) -> Answer {
        let nonce = self.client.challenge().unwrap();
        let header = self.authorization(LeaseAction::Release, lease, &nonce);
        self.client.send_with("DELETE", &format!("/v1/leases/{lease}"), &header, None).unwrap()
    }
}

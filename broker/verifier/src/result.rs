//! The attestation result as claims of a token: EAR (draft-ietf-rats-ear) over EAT (RFC 9711).
//!
//! Two dialects are live: draft-04, and the one that most relying-party libraries still speak. Both carry the same facts
//! under different names. Signing is somebody else's: this is the claims set.

use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{
    Appraisal, Claims, InitDataClaims, Measurements, Platform, Signer, TcbClaims, Timestamp, Unchecked,
    ar4si::{Tier, TrustLabel, TrustVector},
    policy::PolicyId,
    reference::{SetId, WorkloadName},
};

/// The dialect of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum ResultProfile {
    /// draft-ietf-rats-ear-04.
    #[default]
    EarDraft04,
    /// The dialect of 2023, with dots and hyphens in the names.
    EarLegacy,
}

impl ResultProfile {
    /// Every profile.
    pub const ALL: [Self; 2] = [Self::EarDraft04, Self::EarLegacy];

    /// The value of `eat_profile`.
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            Self::EarDraft04 => "tag:ietf.org,2026:rats/ear#04",
            Self::EarLegacy => "tag:github.com,2023:veraison/ear",
        }
    }

    /// The profile of this `eat_profile`.
    #[must_use]
    pub fn from_uri(uri: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.uri() == uri)
    }
}

/// What a result says besides the appraisal.
#[derive(Debug, Clone, Copy)]
pub struct ResultTerms<'a, K> {
    /// `iss`: the broker.
    pub issuer: &'a str,
    /// `aud`: who the result is for; empty: it is left out.
    pub audience: &'a [String],
    /// `jti`: unique.
    pub token_id: &'a str,
    /// `eat_nonce`: the challenge that the evidence answers, base64url without padding.
    pub nonce: &'a str,
    /// `cnf.jwk`: the key that the evidence binds.
    pub key: &'a K,
    /// `status`: where relying parties see whether it was revoked; absent: it is left out.
    pub status: Option<StatusPlace<'a>>,
    /// `iat` and `nbf`.
    pub issued_at: Timestamp,
    /// Seconds until `exp`. A reference set that ends earlier ends the result with it, and so does collateral that the TCB
    /// was judged by.
    pub lifetime: u32,
    /// `developer` of the verifier id.
    pub developer: &'a str,
    /// `build` of the verifier id.
    pub build: &'a str,
}

/// A place in a token status list (draft-ietf-oauth-status-list §6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct StatusPlace<'a> {
    /// The place, from 0.
    pub idx: u64,
    /// The list's address.
    pub uri: &'a str,
}

/// The claims set of an attestation result.
#[derive(Debug, Clone, Copy)]
pub struct AttestationResult<'a, K> {
    profile: ResultProfile,
    appraisal: &'a Appraisal,
    terms: ResultTerms<'a, K>,
}

/// A part of the attester that has its own entry under `submods`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Component {
    Cpu,
    Vtpm,
}

/// What a vTPM speaks about when there is one: the code and data that it measured.
const VTPM_LABELS: [TrustLabel; 4] =
    [TrustLabel::Executables, TrustLabel::FileSystem, TrustLabel::StorageOpaque, TrustLabel::SourcedData];
/// What the processor speaks about beside a vTPM.
const CPU_LABELS: [TrustLabel; 4] =
    [TrustLabel::InstanceIdentity, TrustLabel::Configuration, TrustLabel::Hardware, TrustLabel::RuntimeOpaque];

impl<'a, K: Serialize> AttestationResult<'a, K> {
    /// The result of `appraisal`, whether it affirms or not.
    #[must_use]
    pub const fn new(profile: ResultProfile, appraisal: &'a Appraisal, terms: ResultTerms<'a, K>) -> Self {
        Self { profile, appraisal, terms }
    }

    /// `exp`.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        let planned = self.terms.issued_at.plus_seconds(i64::from(self.terms.lifetime));
        let sets = self.appraisal.reference_values().matched();
        // What has run out and counts for some hours more, as the operator allows, ends nothing.
        let judged = self.appraisal.claims().raw.judged_until().filter(|until| *until > self.terms.issued_at);
        sets.iter().map(|set| set.holds_until).chain(judged).fold(planned, Timestamp::min)
    }

    /// Each component with its part of the trust vector.
    fn components(&self) -> Vec<(Component, TrustVector)> {
        let measurement = &self.appraisal.claims().measurement;
        let vtpm = measurement.runtime.keys().any(|register| register.starts_with("pcr"));
        let vector = self.appraisal.trust_vector();
        match (measurement.launch.is_some(), vtpm) {
            (true, true) => {
                vec![(Component::Cpu, vector.only(&CPU_LABELS)), (Component::Vtpm, vector.only(&VTPM_LABELS))]
            }
            (false, true) => vec![(Component::Vtpm, vector)],
            (true | false, false) => vec![(Component::Cpu, vector)],
        }
    }

    fn submodules(&self) -> Submodules<'a> {
        Submodules { profile: self.profile, appraisal: self.appraisal, components: self.components() }
    }
}

impl Component {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Vtpm => "vtpm",
        }
    }
}

#[derive(Serialize)]
struct VerifierId<'a> {
    developer: &'a str,
    build: &'a str,
}

#[derive(Serialize)]
struct Status<'a> {
    status_list: StatusPlace<'a>,
}

#[derive(Serialize)]
struct Confirmation<'a, K> {
    jwk: &'a K,
}

impl<K: Serialize> Serialize for AttestationResult<'_, K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let terms = &self.terms;
        let verifier = VerifierId { developer: terms.developer, build: terms.build };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("eat_profile", self.profile.uri())?;
        map.serialize_entry("iss", terms.issuer)?;
        match terms.audience {
            [] => {}
            [one] => map.serialize_entry("aud", one)?,
            several => map.serialize_entry("aud", several)?,
        }
        map.serialize_entry("iat", &terms.issued_at.as_unix())?;
        map.serialize_entry("nbf", &terms.issued_at.as_unix())?;
        map.serialize_entry("exp", &self.expires_at().as_unix())?;
        map.serialize_entry("jti", terms.token_id)?;
        map.serialize_entry("eat_nonce", terms.nonce)?;
        map.serialize_entry("cnf", &Confirmation { jwk: terms.key })?;
        if let Some(status_list) = terms.status {
            map.serialize_entry("status", &Status { status_list })?;
        }
        match self.profile {
            ResultProfile::EarDraft04 => {
                map.serialize_entry("ear_verifier_id", &verifier)?;
                map.serialize_entry("ear_status", &self.appraisal.status())?;
            }
            ResultProfile::EarLegacy => map.serialize_entry("ear.verifier-id", &verifier)?,
        }
        map.serialize_entry("submods", &self.submodules())?;
        map.end()
    }
}

struct Submodules<'a> {
    profile: ResultProfile,
    appraisal: &'a Appraisal,
    components: Vec<(Component, TrustVector)>,
}

impl Serialize for Submodules<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.components.len()))?;
        for (component, vector) in &self.components {
            let submodule = Submodule { profile: self.profile, appraisal: self.appraisal, vector: *vector };
            map.serialize_entry(component.as_str(), &submodule)?;
        }
        map.end()
    }
}

struct Submodule<'a> {
    profile: ResultProfile,
    appraisal: &'a Appraisal,
    vector: TrustVector,
}

impl Submodule<'_> {
    /// A stage before the policy that refuses outweighs what the policy said of the component.
    fn status(&self) -> Tier {
        let overall = self.appraisal.status();
        let refused_before = overall == Tier::Contraindicated && self.appraisal.trust_vector().status() != overall;
        if refused_before { overall } else { self.vector.status() }
    }
}

impl Serialize for Submodule<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let attester = AttesterClaims::of(self.appraisal.claims());
        let verifier = VerifierClaims::of(self.appraisal);
        let mut map = serializer.serialize_map(None)?;
        match self.profile {
            ResultProfile::EarDraft04 => {
                map.serialize_entry("ear_status", &self.status())?;
                if !self.vector.is_empty() {
                    map.serialize_entry("ear_trustworthiness_vector", &self.vector)?;
                }
                if let Some(policy) = self.appraisal.policy() {
                    map.serialize_entry("ear_appraisal_policy_ids", &[policy])?;
                }
                map.serialize_entry("ear_attester_claims", &attester)?;
                map.serialize_entry("ear_verifier_claims", &verifier)?;
            }
            ResultProfile::EarLegacy => {
                map.serialize_entry("ear.status", &self.status())?;
                if !self.vector.is_empty() {
                    map.serialize_entry("ear.trustworthiness-vector", &self.vector)?;
                }
                if let Some(policy) = self.appraisal.policy() {
                    map.serialize_entry("ear.appraisal-policy-id", policy)?;
                }
                map.serialize_entry("ear.veraison.annotated-evidence", &attester)?;
                map.serialize_entry("ear.veraison.policy-claims", &verifier)?;
            }
        }
        map.end()
    }
}

/// What the evidence says, without the platform's own fields.
#[derive(Serialize)]
struct AttesterClaims<'a> {
    hwmodel: &'a str,
    debug: bool,
    measurement: &'a Measurements,
    tcb: &'a TcbClaims,
    #[serde(skip_serializing_if = "Option::is_none")]
    instance: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signer: Option<&'a Signer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    init_data: Option<&'a InitDataClaims>,
}

impl<'a> AttesterClaims<'a> {
    fn of(claims: &'a Claims) -> Self {
        Self {
            hwmodel: claims.hwmodel,
            debug: claims.debug,
            measurement: &claims.measurement,
            tcb: &claims.tcb,
            instance: claims.instance.as_deref(),
            signer: claims.signer.as_ref(),
            host_data: claims.host_data.as_deref(),
            init_data: claims.init_data.as_ref(),
        }
    }
}

/// What the broker adds: whose machine it is, what matched, what was relaxed and what was not checked.
#[derive(Serialize)]
struct VerifierClaims<'a> {
    platform: Platform,
    policies: Vec<PolicyReference<'a>>,
    reference_values: Vec<SetReference<'a>>,
    relaxed: &'a [String],
    unchecked: &'a [Unchecked],
}

#[derive(Serialize)]
struct PolicyReference<'a> {
    id: &'a str,
    digest: String,
}

#[derive(Serialize)]
struct SetReference<'a> {
    id: &'a SetId,
    version: u32,
    workload: &'a WorkloadName,
}

impl<'a> VerifierClaims<'a> {
    fn of(appraisal: &'a Appraisal) -> Self {
        let references = appraisal.reference_values();
        let sets = references.matched().iter().chain(references.paravisor());
        Self {
            platform: appraisal.claims().platform,
            policies: appraisal.policy().map(PolicyReference::of).into_iter().collect(),
            reference_values: sets
                .map(|set| SetReference { id: &set.id, version: set.version, workload: &set.workload })
                .collect(),
            relaxed: appraisal.relaxed(),
            unchecked: appraisal.unchecked(),
        }
    }
}

impl<'a> PolicyReference<'a> {
    fn of(policy: &'a PolicyId) -> Self {
        Self { id: policy.name(), digest: format!("sha256:{}", policy.digest()) }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        Criteria, Policing, Warnings, appraise,
        fixtures::{LAUNCH, authentic, claims, launch, now, set, strict, values, vtpm_claims},
        policy::AppraisalPolicy,
        reference::References,
    };

    fn appraisal(claims: Claims) -> Appraisal {
        let policy = AppraisalPolicy::built_in().unwrap();
        let references = values([set(4, launch(LAUNCH))]);
        let criteria = Criteria {
            baseline: &strict(),
            references: References::Require(&references),
            policing: Policing::Apply(&policy),
            warnings: Warnings::Refuse,
        };
        appraise(&authentic(claims), &criteria, now())
    }

    fn token(appraisal: &Appraisal, profile: ResultProfile, audience: &[String]) -> Value {
        let key = json!({"kty": "EC", "crv": "P-256", "x": "AA", "y": "BB"});
        let terms = ResultTerms {
            issuer: "https://broker.example",
            audience,
            token_id: "7c9e6679",
            nonce: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            key: &key,
            status: Some(StatusPlace { idx: 7, uri: "https://broker.example/v1/status/0" }),
            issued_at: now(),
            lifetime: 900,
            developer: "https://broker.example",
            build: "countersign 0.1.0",
        };
        serde_json::to_value(AttestationResult::new(profile, appraisal, terms)).unwrap()
    }

    fn policy_id() -> String {
        AppraisalPolicy::built_in().unwrap().id().to_string()
    }

    fn attester_claims() -> Value {
        json!({
            "hwmodel": "amd-genoa",
            "debug": false,
            "measurement": {"launch": "9f".repeat(48)},
            "tcb": {"versions": {}, "advisories": []},
            "instance": "11".repeat(64),
            "host_data": "00".repeat(32),
        })
    }

    fn verifier_claims() -> Value {
        let id = policy_id();
        let (name, digest) = id.split_once('@').unwrap();
        json!({
            "platform": "bare",
            "policies": [{"id": name, "digest": digest}],
            "reference_values": [{"id": "web-prod", "version": 4, "workload": "web"}],
            "relaxed": [],
            "unchecked": [],
        })
    }

    #[test]
    fn draft_04_is_exactly_this() {
        let token = token(&appraisal(claims()), ResultProfile::EarDraft04, &["vault".to_owned()]);
        let wanted = json!({
            "eat_profile": "tag:ietf.org,2026:rats/ear#04",
            "iss": "https://broker.example",
            "aud": "vault",
            "iat": 1_800_000_000,
            "nbf": 1_800_000_000,
            "exp": 1_800_000_900,
            "jti": "7c9e6679",
            "eat_nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "cnf": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "BB"}},
            "status": {"status_list": {"idx": 7, "uri": "https://broker.example/v1/status/0"}},
            "ear_verifier_id": {"developer": "https://broker.example", "build": "countersign 0.1.0"},
            "ear_status": "affirming",
            "submods": {"cpu": {
                "ear_status": "affirming",
                "ear_trustworthiness_vector": {
                    "instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 2
                },
                "ear_appraisal_policy_ids": [policy_id()],
                "ear_attester_claims": attester_claims(),
                "ear_verifier_claims": verifier_claims(),
            }},
        });
        assert_eq!(token, wanted);
    }

    #[test]
    fn legacy_is_exactly_this() {
        let audience = ["vault".to_owned(), "db".to_owned()];
        let token = token(&appraisal(claims()), ResultProfile::EarLegacy, &audience);
        let wanted = json!({
            "eat_profile": "tag:github.com,2023:veraison/ear",
            "iss": "https://broker.example",
            "aud": ["vault", "db"],
            "iat": 1_800_000_000,
            "nbf": 1_800_000_000,
            "exp": 1_800_000_900,
            "jti": "7c9e6679",
            "eat_nonce": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "cnf": {"jwk": {"kty": "EC", "crv": "P-256", "x": "AA", "y": "BB"}},
            "status": {"status_list": {"idx": 7, "uri": "https://broker.example/v1/status/0"}},
            "ear.verifier-id": {"developer": "https://broker.example", "build": "countersign 0.1.0"},
            "submods": {"cpu": {
                "ear.status": "affirming",
                "ear.trustworthiness-vector": {
                    "instance-identity": 2, "configuration": 2, "executables": 3, "hardware": 2, "runtime-opaque": 2
                },
                "ear.appraisal-policy-id": policy_id(),
                "ear.veraison.annotated-evidence": attester_claims(),
                "ear.veraison.policy-claims": verifier_claims(),
            }},
        });
        assert_eq!(token, wanted);
    }

    #[test]
    fn a_refused_appraisal_is_never_affirming() {
        let mut bad = claims();
        bad.debug = true;
        for profile in ResultProfile::ALL {
            let token = token(&appraisal(bad.clone()), profile, &[]);
            let submodule = &token["submods"]["cpu"];
            let status = submodule.get("ear_status").or_else(|| submodule.get("ear.status"));
            assert_eq!(status.unwrap(), "contraindicated");
        }
        let mut unknown = claims();
        unknown.measurement.launch = Some(evidence_formats::bytes::LaunchDigest([1; 48]));
        let token = token(&appraisal(unknown), ResultProfile::EarDraft04, &[]);
        assert_eq!(token["ear_status"], "contraindicated");
        assert_eq!(token["submods"]["cpu"]["ear_status"], "contraindicated");
    }

    #[test]
    fn a_vtpm_has_a_submodule_of_its_own() {
        let token = token(&appraisal(vtpm_claims()), ResultProfile::EarDraft04, &[]);
        let names: Vec<&String> = token["submods"].as_object().unwrap().keys().collect();
        assert_eq!(names, ["cpu", "vtpm"]);
        assert_eq!(token["submods"]["vtpm"]["ear_trustworthiness_vector"], json!({"executables": 33}));
        assert_eq!(token["submods"]["vtpm"]["ear_verifier_claims"]["unchecked"][0]["what"], "paravisor_measurement");
    }

    #[test]
    fn a_result_ends_with_the_reference_set_that_it_rests_on() {
        let policy = AppraisalPolicy::built_in().unwrap();
        let mut ending = set(4, launch(LAUNCH));
        ending.retire_at = Some(now().plus_seconds(60));
        let references = values([ending]);
        let criteria = Criteria {
            baseline: &strict(),
            references: References::Require(&references),
            policing: Policing::Apply(&policy),
            warnings: Warnings::Refuse,
        };
        let appraisal = appraise(&authentic(claims()), &criteria, now());
        assert_eq!(token(&appraisal, ResultProfile::EarDraft04, &[])["exp"], 1_800_000_060);
    }

    /// The oracle compares `exp` with the clock of this machine, so it gets a token that ends in 2100.
    fn long_lived(mut token: Value) -> Value {
        token["exp"] = json!(4_102_444_800_u64);
        token
    }

    /// Our signature, our header and our claims through two other readers: the oracle, and our own verifier.
    #[test]
    fn a_signed_result_is_read_by_the_oracle_unless_it_names_an_audience() {
        use keys::{
            random::SystemRandom,
            sign::{Jwks, SignatureAlgorithm, Signer, SigningKey, TokenType, sign_jwt},
            token::{Audience, Expected, verify},
        };
        let key = SigningKey::generate(SignatureAlgorithm::Es256, &mut SystemRandom::new()).unwrap();
        let jwk = serde_json::to_vec(key.verifying_key()).unwrap();
        let jwks = Jwks::new([key.verifying_key().clone()]);
        for (audience, readable) in [(vec![], true), (vec!["vault".to_owned()], false)] {
            let claims = long_lived(token(&appraisal(claims()), ResultProfile::EarDraft04, &audience));
            let signed = sign_jwt(&key, TokenType::EatJwt, &claims).unwrap();
            assert_eq!(ear::Ear::from_jwt_jwk(&signed, ear::Algorithm::ES256, &jwk).is_ok(), readable);
            let audience =
                audience.first().map_or(Audience::Unchecked { reason: "none" }, |name| Audience::Exactly(name));
            let expected = Expected {
                algorithms: &[SignatureAlgorithm::Es256],
                issuer: "https://broker.example",
                audience,
                now: now().as_unix(),
                leeway: 0,
            };
            assert_eq!(verify::<Value>(&signed, &jwks, &expected).unwrap(), claims);
        }
    }

    /// The reference implementation of draft-04 reads our claims set. It cannot carry `aud` (its JWT reader refuses any
    /// token that has one), and it drops the claims that the draft leaves to extensions: `iss`, `nbf`, `jti`, `cnf` and `status`.
    #[test]
    fn the_oracle_reads_draft_04() {
        for claims in [claims(), vtpm_claims()] {
            let ours = long_lived(token(&appraisal(claims), ResultProfile::EarDraft04, &[]));
            let text = serde_json::to_string(&ours).unwrap();
            let read: ear::Ear = serde_json::from_str(&text).unwrap();
            read.validate().unwrap();
            assert_eq!(read.profile, ResultProfile::EarDraft04.uri());
            assert_eq!(read.iat, ours["iat"].as_i64().unwrap());
            assert_eq!(read.status.unwrap().as_str(), ours["ear_status"].as_str().unwrap());
            for (name, submodule) in &read.submods {
                assert_eq!(submodule.status.as_str(), ours["submods"][name]["ear_status"].as_str().unwrap());
                assert_eq!(submodule.policy_ids, [policy_id()]);
                for label in TrustLabel::ALL {
                    let vector = &ours["submods"][name]["ear_trustworthiness_vector"];
                    let wanted = vector.get(label.as_str()).map_or(0, |value| value.as_i64().unwrap());
                    assert_eq!(i64::from(submodule.trust_vector.by_name(label.as_str()).unwrap().get()), wanted);
                }
            }
            let theirs = serde_json::to_value(&read).unwrap();
            for (name, value) in ours.as_object().unwrap() {
                let carried = !["iss", "nbf", "jti", "cnf", "status"].contains(&name.as_str());
                assert_eq!(theirs.get(name), carried.then_some(value), "{name}");
            }
        }
    }
}

//! From evidence to what the broker gives for it: two round trips on one connection.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use evidence_formats::{
    binding::{BindingDigest, Nonce},
    bundle::Bundle,
    bytes::ReportData,
    digest::HashAlgorithm,
    guest_report::GuestReport,
};
use keys::{
    grant::GrantPayload,
    jwk::TeeKeyType,
    lease::{LeaseAction, LeaseClaim, LeaseKey},
    offline::OfflineTerms,
    random::SystemRandom,
    secret::SecretBytes,
    tee_key::TeeKeyPair,
    tpm::TpmGrant,
};
use rustls::ClientConfig;
use tee::{
    AttestError, Attester, Collected, GuestTpm,
    tpm::{ImportedSecret, Pcrs},
};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    backoff::Backoff,
    cli::{EnrollChoice, KeyKind, Profile, Seal},
    clock,
    connection::{Connection, TransportError},
    console,
    enrolment::{EnrolmentState, is_about_unknown_key},
    failure::{Failure, Refusal},
    life::Moment,
    protocol::{ATTEST, AttestRequest, AttestResponse, CHALLENGE, Challenge, ChallengeRequest, GrantRequest},
    result,
    settings::BrokerSettings,
};

/// Longest wait for the hardware: the kernel itself waits a minute for a busy host.
const EVIDENCE_LIMIT: Duration = Duration::from_secs(150);

/// Longest wait for the time of a broker that is not trusted.
const DATE_LIMIT: Duration = Duration::from_secs(3);

/// The id of the only grant of a request.
const GRANT_ID: &str = "g1";

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// Form of the result; the broker's default when absent.
    pub(crate) profile: Option<Profile>,
    /// One grant.
    pub(crate) grant: Option<Wanted<'a>>,
    /// What the guest says of itself; the evidence is bound to it.
    pub(crate) report: Option<&'a GuestReport>,
}

/// One grant to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    /// Its kind, as on the wire.
    pub(crate) kind: &'static str,
    /// Its name.
    pub(crate) name: &'a str,
    /// Where it is to be opened.
    pub(crate) seal: Option<Seal>,
    /// JWT-SVID: for whom.
    pub(crate) audience: Option<&'a str>,
    /// X.509-SVID: the certificate signing request, PEM.
    pub(crate) csr: Option<&'a str>,
    /// SSH certificate: the guest's public key, a line.
    pub(crate) public_key: Option<&'a str>,
    /// Secret: which version, where it is not the current one. Rotation: of which version the step is.
    pub(crate) version: Option<u32>,
    /// Rotation: the step.
    pub(crate) step: Option<&'static str>,
    /// Secret: whether this machine's TPM would keep it for reboots without the broker.
    pub(crate) offline: bool,
}

impl<'a> Wanted<'a> {
    /// A grant of this kind and name, and nothing more.
    pub(crate) const fn of(kind: &'static str, name: &'a str) -> Self {
        Self {
            kind,
            name,
            seal: None,
            audience: None,
            csr: None,
            public_key: None,
            version: None,
            step: None,
            offline: false,
        }
    }

    /// As the broker reads it; `id` names it in the answer.
    pub(crate) fn as_request(self, id: &'a str) -> GrantRequest<'a> {
        GrantRequest {
            id,
            r#type: self.kind,
            name: self.name,
            seal: self.seal.map(Seal::name),
            audience: self.audience,
            csr: self.csr,
            public_key: self.public_key,
            version: self.version,
            step: self.step,
            offline: self.offline,
        }
    }
}

/// What fresh evidence is shown for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Presentation<'a> {
    /// What is asked for.
    pub(crate) grants: &'a [GrantRequest<'a>],
    /// Form of the result; the broker's default when absent.
    pub(crate) profile: Option<Profile>,
    /// What the guest says of itself.
    pub(crate) report: Option<&'a GuestReport>,
    /// Whether the key of the leases is asked for.
    pub(crate) renewable: bool,
    /// The lease to renew; absent: a new one.
    pub(crate) renewal: Option<Renewal<'a>>,
}

/// A lease that is to be renewed, and what proves it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Renewal<'a> {
    pub(crate) lease: &'a str,
    pub(crate) key: &'a LeaseKey,
}

/// The broker's answer to evidence.
pub(crate) struct Presented {
    pub(crate) response: AttestResponse,
    /// What opens it.
    pub(crate) key: TeeKeyPair,
    /// Before the broker was asked: every life is counted from here.
    pub(crate) asked_at: Moment,
}

/// `Authorization` of a request over a lease.
pub(crate) fn authorization(key: &LeaseKey, action: LeaseAction, lease: &str, nonce: &Nonce, tee_key: &str) -> String {
    let claim = LeaseClaim { action, lease, nonce: nonce.as_bytes(), tee_key };
    format!("Lease {nonce}.{}", key.prove(&claim))
}

/// What the broker gave.
pub(crate) struct Answer {
    /// The attestation result, a JWT; its signature is not looked at here.
    pub(crate) result: String,
    /// Version and value of the secret that was asked for.
    pub(crate) secret: Option<(u64, SecretBytes)>,
    /// Whether the TPM may keep it for reboots without the broker, and how long.
    pub(crate) offline: Option<OfflineTerms>,
}

/// A guest that can attest to a broker.
#[derive(Debug)]
pub(crate) struct Exchange {
    settings: BrokerSettings,
    tls: Arc<ClientConfig>,
    /// Behind a lock because evidence is gathered on another thread.
    attester: Arc<Mutex<Box<dyn Attester>>>,
    enroll: EnrollChoice,
    /// The key to attest for, PKCS#8, in the place of a fresh one.
    key: Option<OwnKey>,
}

/// A key that is never printed.
struct OwnKey(Arc<SecretBytes>);

impl std::fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OwnKey")
    }
}

/// Why one attempt ended.
pub(crate) enum Attempt {
    /// Worth another one, with a new challenge.
    Again(TransportError),
    /// Not.
    Final(Failure),
}

impl From<TransportError> for Attempt {
    fn from(error: TransportError) -> Self {
        if error.may_mend() { Self::Again(error) } else { Self::Final(error.into()) }
    }
}

impl From<Failure> for Attempt {
    fn from(failure: Failure) -> Self {
        Self::Final(failure)
    }
}

impl Exchange {
    /// Prepares TLS; nothing is sent.
    pub(crate) fn new(
        settings: BrokerSettings,
        attester: Box<dyn Attester>,
        enroll: EnrollChoice,
    ) -> Result<Self, Failure> {
        let tls = Arc::new(settings.pins.client_config().map_err(crate::settings::SettingsError::from)?);
        Ok(Self { settings, tls, attester: Arc::new(Mutex::new(attester)), enroll, key: None })
    }

    /// The same for a P-256 key of the caller's, which programs of the guest use as well.
    pub(crate) fn for_key(self, key: Arc<SecretBytes>) -> Self {
        Self { key: Some(OwnKey(key)), ..self }
    }

    /// The same with other patience.
    pub(crate) fn with_timeout(self, timeout: Duration) -> Self {
        Self { settings: BrokerSettings { timeout, ..self.settings }, ..self }
    }

    fn key(&self) -> Result<TeeKeyPair, Failure> {
        match &self.key {
            None => fresh_key(self.settings.key_kind),
            Some(OwnKey(document)) => TeeKeyPair::from_pkcs8(document)
                .ok_or(Failure::Make { what: "a key", reason: "expected a P-256 key".to_owned() }),
        }
    }

    /// Attests until there is an answer, a refusal, or the time is up. A key that the broker does not know is enrolled once.
    pub(crate) async fn run(&self, ask: Ask<'_>) -> Result<Answer, Failure> {
        let attested = self.repeat(async |time| Box::pin(self.once(ask, time)).await).await;
        match attested {
            Err(Failure::Refused(refusal)) if is_about_unknown_key(&refusal) && self.enrols().await? => {
                console::say("the broker does not know this machine's attestation key: enrolling it");
                let enrolled = self.enrol().await?;
                match enrolled.state {
                    EnrolmentState::Enrolled => {}
                    EnrolmentState::AwaitingApproval => {
                        return Err(Failure::AwaitingApproval { ak_name: enrolled.ak_name });
                    }
                }
                self.repeat(async |time| Box::pin(self.once(ask, time)).await).await
            }
            other => other,
        }
    }

    pub(crate) async fn enrols(&self) -> Result<bool, Failure> {
        match self.enroll {
            EnrollChoice::Auto => self.has_tpm().await,
            EnrollChoice::Never => Ok(false),
        }
    }

    /// Tries with growing pauses what may succeed later.
    pub(crate) async fn repeat<T>(
        &self,
        mut once: impl AsyncFnMut(&Backoff) -> Result<T, Attempt>,
    ) -> Result<T, Failure> {
        let mut backoff = Backoff::new(self.settings.timeout);
        let mut attempts: u32 = 0;
        loop {
            attempts = attempts.saturating_add(1);
            let error = match once(&backoff).await {
                Ok(done) => return Ok(done),
                Err(Attempt::Final(failure)) => return Err(failure),
                Err(Attempt::Again(error)) => error,
            };
            let Some(pause) = backoff.next(error.retry_after()) else {
                return Err(Failure::Unreachable { attempts, source: Box::new(error) });
            };
            console::say(&format!("{}; trying again in {:.1} s", console::chain(&error), pause.as_secs_f32()));
            tokio::time::sleep(pause).await;
        }
    }

    pub(crate) async fn connect(&self, time: &Backoff) -> Result<Connection, TransportError> {
        match Connection::open(&self.settings.address, Arc::clone(&self.tls), time.left()).await {
            Err(TransportError::Dates { source, trouble, .. }) => {
                let broker = self.time_of_broker(&source, time).await;
                Err(TransportError::Dates { source, trouble, broker })
            }
            opened => opened,
        }
    }

    /// What time it is for the broker whose certificate's dates were refused: for the person at the console, who has to find out
    /// whether clock or certificate is wrong. Nothing else is sent or believed.
    async fn time_of_broker(&self, refused: &rustls::Error, time: &Backoff) -> Option<u64> {
        let tls = self.settings.pins.dangerous_client_config_at(clock::date_within(refused)?).ok()?;
        let limit = DATE_LIMIT.min(time.left());
        let mut connection = Connection::open(&self.settings.address, Arc::new(tls), limit).await.ok()?;
        let _whatever_it_says = connection.text("/healthz", limit).await;
        connection.date()
    }

    async fn once(&self, ask: Ask<'_>, time: &Backoff) -> Result<Answer, Attempt> {
        let wanted = ask.grant.map(|wanted| wanted.as_request(GRANT_ID));
        let presentation = Presentation {
            grants: wanted.as_slice(),
            profile: ask.profile,
            report: ask.report,
            ..Presentation::default()
        };
        let Presented { response, key, .. } = self.present(presentation, time).await?;
        let Some(Wanted { name, seal, .. }) = ask.grant else {
            return Ok(Answer { result: response.result, secret: None, offline: None });
        };
        let plaintext = plaintext(&response, &key)?;
        let (secret, offline) = match TpmGrant::parse(&plaintext) {
            Ok(sealed) => (self.unseal(name, sealed).await?, None),
            Err(_for_us_alone) if seal.is_none() => secret(name, &plaintext)?,
            Err(_for_us_alone) => return Err(Failure::Answer { expected: "a secret sealed to the TPM" }.into()),
        };
        Ok(Answer { result: response.result, secret: Some(secret), offline })
    }

    /// Shows fresh evidence once, and makes sure that the answer is to it.
    pub(crate) async fn present(&self, what: Presentation<'_>, time: &Backoff) -> Result<Presented, Attempt> {
        let mut connection = self.connect(time).await?;
        let asked_at = Moment::now();
        let Challenge { nonce } = connection.post(CHALLENGE, &ChallengeRequest {}, time.left()).await?;
        clock::warn_once(connection.date());
        let key = self.key()?;
        let binding = BindingDigest::native_reporting(&nonce, key.public(), what.report)
            .map_err(|error| Failure::Make { what: "the binding", reason: error.to_string() })?;
        let evidence = self.evidence(binding.report_data()).await?;
        let request = AttestRequest {
            nonce: &nonce,
            tee_key: key.public(),
            evidence: &evidence,
            grants: what.grants,
            profile: what.profile.map(Profile::tag),
            renewable: what.renewable,
            guest_report: what.report,
        };
        let response: AttestResponse = match what.renewal {
            None => connection.post(ATTEST, &request, time.left()).await?,
            Some(Renewal { lease, key: lease_key }) => {
                let tee_key = key.public().thumbprint();
                let proof = authorization(lease_key, LeaseAction::Renew, lease, &nonce, &tee_key);
                connection.post_as(Some(&proof), &format!("/v1/leases/{lease}/renew"), &request, time.left()).await?
            }
        };
        result::is_ours(&response.result, &nonce, key.public()).map_err(Failure::from)?;
        Ok(Presented { response, key, asked_at })
    }

    async fn evidence(&self, report_data: ReportData) -> Result<Bundle, Failure> {
        let Collected { bundle, warnings } = self.with_attester(move |attester| attester.collect(&report_data)).await?;
        for warning in warnings {
            console::say(&format!("warning: {warning}"));
        }
        Ok(bundle)
    }

    /// Asks hardware or TPM on a thread of its own, so that the connection stays alive meanwhile.
    pub(crate) async fn with_attester<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut dyn Attester) -> Result<T, AttestError> + Send + 'static,
    ) -> Result<T, Failure> {
        let attester = Arc::clone(&self.attester);
        let asking = spawn_blocking(move || ask(&mut **attester.lock().unwrap_or_else(PoisonError::into_inner)));
        let asked = timeout(EVIDENCE_LIMIT, asking).await;
        let asked = asked.map_err(|_elapsed| Failure::EvidenceTimeout { limit: EVIDENCE_LIMIT })?;
        Ok(asked.map_err(|error| Failure::Make { what: "evidence", reason: error.to_string() })??)
    }

    /// The same with the TPM that has a part in the evidence.
    pub(crate) async fn with_tpm<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&mut GuestTpm) -> Result<T, AttestError> + Send + 'static,
    ) -> Result<T, Failure> {
        let asked = self.with_attester(move |attester| attester.tpm().map(ask).transpose()).await?;
        asked.ok_or(Failure::NoTpm)
    }

    /// The secret called `name`, opened by the TPM.
    async fn unseal(&self, name: &str, sealed: TpmGrant) -> Result<(u64, SecretBytes), Failure> {
        if sealed.grant != name {
            return Err(Failure::Answer { expected: "the secret that was asked for" });
        }
        let bank = HashAlgorithm::from_name(sealed.bank.name());
        let pcrs = Pcrs::new(bank.ok_or(Failure::Answer { expected: "a known PCR bank" })?, sealed.pcrs.clone());
        let object = sealed.object.clone();
        let wrapped = ImportedSecret { public: object.public, duplicate: object.duplicate, symseed: object.symseed };
        let unsealed = self.with_tpm(move |tpm| tpm.unseal(&wrapped, &pcrs)).await?;
        let version = sealed.version;
        let opened = sealed.open(SecretBytes::new(unsealed.to_vec()));
        let opened =
            opened.map_err(|_unopened| Failure::Answer { expected: "a secret under the key that the TPM opened" })?;
        Ok((version, opened))
    }
}

fn fresh_key(kind: KeyKind) -> Result<TeeKeyPair, Failure> {
    let key_type = match kind {
        KeyKind::P256 => TeeKeyType::P256,
        KeyKind::X25519 => TeeKeyType::X25519,
        KeyKind::XWing => TeeKeyType::XWing,
    };
    let made = TeeKeyPair::generate(key_type, &mut SystemRandom::new());
    made.map_err(|error| Failure::Make { what: "a key", reason: error.to_string() })
}

/// What was sealed to our key.
fn plaintext(response: &AttestResponse, key: &TeeKeyPair) -> Result<SecretBytes, Failure> {
    if let Some(denied) = response.denied.iter().find(|denied| denied.id == GRANT_ID) {
        return Err(Failure::Refused(Refusal {
            code: denied.code.clone(),
            detail: None,
            reasons: denied.reasons.clone(),
            decision: Some(response.attestation_id.clone()),
        }));
    }
    let grant = response.grants.iter().find(|grant| grant.id == GRANT_ID);
    let grant = grant.ok_or(Failure::Answer { expected: "the secret or a reason why not" })?;
    key.open(&grant.sealed).map_err(|_unopened| Failure::Answer { expected: "a secret sealed to our key" })
}

/// Version and value of a secret, and whether it may be kept.
type Opened = ((u64, SecretBytes), Option<OfflineTerms>);

/// The secret called `name`.
fn secret(name: &str, plaintext: &SecretBytes) -> Result<Opened, Failure> {
    let payload = GrantPayload::parse(plaintext);
    let payload = payload.map_err(|_unreadable| Failure::Answer { expected: "a secret with its name" })?;
    if payload.grant == name {
        Ok(((payload.version, payload.value), payload.offline))
    } else {
        Err(Failure::Answer { expected: "the secret that was asked for" })
    }
}

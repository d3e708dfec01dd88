//! From evidence to what the broker gives for it: two round trips on one connection.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use evidence_formats::{binding::BindingDigest, bundle::Bundle, bytes::ReportData};
use keys::{grant::GrantPayload, jwk::TeeKeyType, random::SystemRandom, secret::SecretBytes, tee_key::TeeKeyPair};
use rustls::ClientConfig;
use tee::{Attester, Collected};
use tokio::{task::spawn_blocking, time::timeout};

use crate::{
    backoff::Backoff,
    cli::{KeyKind, Profile},
    connection::{Connection, TransportError},
    console,
    failure::{Failure, Refusal},
    protocol::{ATTEST, AttestRequest, AttestResponse, CHALLENGE, Challenge, ChallengeRequest, GrantRequest},
    result,
    settings::BrokerSettings,
};

/// Longest wait for the hardware: the kernel itself waits a minute for a busy host.
const EVIDENCE_LIMIT: Duration = Duration::from_secs(150);

/// The id of the only grant of a request.
const GRANT_ID: &str = "g1";

/// What to ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ask<'a> {
    /// Form of the result; the broker's default when absent.
    pub(crate) profile: Option<Profile>,
    /// Name of a secret.
    pub(crate) secret: Option<&'a str>,
}

/// What the broker gave.
pub(crate) struct Answer {
    /// The attestation result, a JWT; its signature is not looked at here.
    pub(crate) result: String,
    /// The value of the secret that was asked for.
    pub(crate) secret: Option<SecretBytes>,
}

/// A guest that can attest to a broker.
#[derive(Debug)]
pub(crate) struct Exchange {
    settings: BrokerSettings,
    tls: Arc<ClientConfig>,
    /// Behind a lock because evidence is gathered on another thread.
    attester: Arc<Mutex<Box<dyn Attester>>>,
}

/// Why one attempt ended.
enum Attempt {
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
    pub(crate) fn new(settings: BrokerSettings, attester: Box<dyn Attester>) -> Result<Self, Failure> {
        let tls = Arc::new(settings.pins.client_config().map_err(crate::settings::SettingsError::from)?);
        Ok(Self { settings, tls, attester: Arc::new(Mutex::new(attester)) })
    }

    /// Attests until there is an answer, a refusal, or the time is up.
    pub(crate) async fn run(&self, ask: Ask<'_>) -> Result<Answer, Failure> {
        let mut backoff = Backoff::new(self.settings.timeout);
        let mut attempts: u32 = 0;
        loop {
            attempts = attempts.saturating_add(1);
            let error = match Box::pin(self.once(ask, &backoff)).await {
                Ok(answer) => return Ok(answer),
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

    async fn once(&self, ask: Ask<'_>, time: &Backoff) -> Result<Answer, Attempt> {
        let mut connection = Connection::open(&self.settings.address, Arc::clone(&self.tls), time.left()).await?;
        let Challenge { nonce } = connection.post(CHALLENGE, &ChallengeRequest {}, time.left()).await?;
        let key = fresh_key(self.settings.key_kind)?;
        let binding = BindingDigest::native(&nonce, key.public())
            .map_err(|error| Failure::Make { what: "the binding", reason: error.to_string() })?;
        let evidence = self.evidence(binding.report_data()).await?;
        let wanted = ask.secret.map(|name| GrantRequest { id: GRANT_ID, r#type: "secret", name });
        let request = AttestRequest {
            nonce: &nonce,
            tee_key: key.public(),
            evidence: &evidence,
            grants: wanted.as_slice(),
            profile: ask.profile.map(Profile::tag),
        };
        let response: AttestResponse = connection.post(ATTEST, &request, time.left()).await?;
        result::is_ours(&response.result, &nonce, key.public()).map_err(Failure::from)?;
        let secret = ask.secret.map(|name| secret(name, &response, &key)).transpose()?;
        Ok(Answer { result: response.result, secret })
    }

    /// Gathers evidence on a thread of its own, so that the connection stays alive meanwhile.
    async fn evidence(&self, report_data: ReportData) -> Result<Bundle, Failure> {
        let attester = Arc::clone(&self.attester);
        let gathering =
            spawn_blocking(move || attester.lock().unwrap_or_else(PoisonError::into_inner).collect(&report_data));
        let gathered = timeout(EVIDENCE_LIMIT, gathering).await;
        let gathered = gathered.map_err(|_elapsed| Failure::EvidenceTimeout { limit: EVIDENCE_LIMIT })?;
        let Collected { bundle, warnings } =
            gathered.map_err(|error| Failure::Make { what: "evidence", reason: error.to_string() })??;
        for warning in warnings {
            console::say(&format!("warning: {warning}"));
        }
        Ok(bundle)
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

/// The secret called `name`, opened with our key.
fn secret(name: &str, response: &AttestResponse, key: &TeeKeyPair) -> Result<SecretBytes, Failure> {
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
    let opened =
        key.open(&grant.sealed).map_err(|_unopened| Failure::Answer { expected: "a secret sealed to our key" })?;
    let payload = GrantPayload::parse(&opened);
    let payload = payload.map_err(|_unreadable| Failure::Answer { expected: "a secret with its name" })?;
    if payload.grant == name {
        Ok(payload.value)
    } else {
        Err(Failure::Answer { expected: "the secret that was asked for" })
    }
}

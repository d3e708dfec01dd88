//! What is counted, in Prometheus' text form. Labels are closed sets: no caller can make a new time series.

use std::fmt;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Labels of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RequestLabels {
    /// The matched route, or `unknown`.
    pub(crate) route: String,
    /// The status of the answer.
    pub(crate) status: u16,
}

/// Labels of what a tenant has. The tenants are those of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TenantLabels {
    /// Its name.
    pub(crate) tenant: String,
}

/// Labels of an attestation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct AttestationLabels {
    /// `affirmed`, `refused`, or `undecided` for want of a vendor's document.
    pub(crate) outcome: &'static str,
    /// The code of a refusal or of what is missing, empty when affirmed.
    pub(crate) code: &'static str,
}

/// Labels of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GrantLabels {
    /// `released` or `denied`.
    pub(crate) outcome: &'static str,
}

/// Labels of a request to the bridge.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct BridgeLabels {
    /// `handed_over`, or why not.
    pub(crate) outcome: &'static str,
}

/// Labels of a token exchange.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ExchangeLabels {
    /// `released`, `refused`, or `undecided` when it could not be judged.
    pub(crate) outcome: &'static str,
    /// The code of a refusal, empty when released.
    pub(crate) code: &'static str,
}

/// Labels of a fetch of another trust domain's bundle.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct FederationLabels {
    /// `fetched` or `failed`.
    pub(crate) outcome: &'static str,
}

/// Labels of a step of a break-glass request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct GlassLabels {
    /// `requested`, `approved`, `revoked` or `used`.
    pub(crate) step: &'static str,
}

/// Labels of a comparison with a staged rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ShadowLabels {
    /// `same` or `differs`.
    pub(crate) outcome: &'static str,
}

/// Labels of what became of a role of a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct RoleLabels {
    /// `made`, `prolonged`, `not_made`, `dropped`, `not_dropped` (it is tried again) or `stray` (ours, and in no row).
    pub(crate) outcome: &'static str,
}

/// Upper bounds, in seconds, of the buckets of request durations.
const DURATIONS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Everything that is counted.
pub(crate) struct Metrics {
    registry: Registry,
    /// Requests answered.
    pub(crate) requests: Family<RequestLabels, Counter>,
    /// Seconds from the headers of a request to its answer.
    pub(crate) request_seconds: Histogram,
    /// Attestations decided.
    pub(crate) attestations: Family<AttestationLabels, Counter>,
    /// Grants asked for in affirmed attestations.
    pub(crate) grants: Family<GrantLabels, Counter>,
    /// Fetches of other trust domains' bundles.
    pub(crate) federation_fetches: Family<FederationLabels, Counter>,
    /// Roles of databases.
    pub(crate) database_roles: Family<RoleLabels, Counter>,
    /// Steps of break-glass requests.
    pub(crate) break_glass: Family<GlassLabels, Counter>,
    /// Comparisons with staged rules.
    pub(crate) shadow: Family<ShadowLabels, Counter>,
    /// Token exchanges.
    pub(crate) exchanges: Family<ExchangeLabels, Counter>,
    /// Open connections.
    pub(crate) connections: Gauge,
    /// Connections that ended before their first request: TLS failures and peers that were too slow.
    pub(crate) failed_handshakes: Counter,
    /// Requests to the bridge.
    bridge: Family<BridgeLabels, Counter>,
    /// Exceptions that live.
    pub(crate) exceptions_live: Family<TenantLabels, Gauge>,
    /// Those whose end was alerted.
    pub(crate) exceptions_ending: Family<TenantLabels, Gauge>,
    /// Legacy secrets that are due to be changed.
    pub(crate) exceptions_rotation_due: Family<TenantLabels, Gauge>,
    /// Legacy secrets that were changed on schedule.
    pub(crate) exception_rotations: Counter,
    /// Alerts before the end of an exception.
    pub(crate) exception_alerts: Counter,
}

impl Metrics {
    /// All counters at zero.
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("countersign");
        let requests = Family::default();
        registry.register("http_requests", "Requests answered", requests.clone());
        let request_seconds = Histogram::new(DURATIONS);
        registry.register("http_request_seconds", "Time to answer a request", request_seconds.clone());
        let attestations = Family::default();
        registry.register("attestations", "Attestations decided", attestations.clone());
        let grants = Family::default();
        registry.register("grants", "Grants asked for by affirmed guests", grants.clone());
        let federation_fetches = Family::default();
        let help = "Fetches of other trust domains' bundles";
        registry.register("federation_fetches", help, federation_fetches.clone());
        let database_roles = Family::default();
        registry.register("database_roles", "Roles of databases made and dropped", database_roles.clone());
        let break_glass = Family::default();
        registry.register("break_glass", "Steps of break-glass requests", break_glass.clone());
        let shadow = Family::default();
        registry.register("shadow", "Comparisons of decisions with staged rules", shadow.clone());
        let exchanges = Family::default();
        registry.register("exchanges", "Token exchanges", exchanges.clone());
        let connections = Gauge::default();
        registry.register("connections", "Open connections", connections.clone());
        let failed_handshakes = Counter::default();
        registry.register("failed_handshakes", "Connections without a request", failed_handshakes.clone());
        let bridge = Family::default();
        registry.register("bridge_requests", "Requests for static secrets over the bridge", bridge.clone());
        let exceptions_live = Family::default();
        registry.register("exceptions", "Static secrets that still live", exceptions_live.clone());
        let exceptions_ending = Family::default();
        registry.register("exceptions_ending", "Static secrets whose end was alerted", exceptions_ending.clone());
        let exceptions_rotation_due = Family::default();
        let help = "Static secrets that are due to be changed";
        registry.register("exceptions_rotation_due", help, exceptions_rotation_due.clone());
        let exception_rotations = Counter::default();
        let help = "Static secrets that were changed on schedule";
        registry.register("exception_rotations", help, exception_rotations.clone());
        let exception_alerts = Counter::default();
        registry.register("exception_alerts", "Alerts before the end of a static secret", exception_alerts.clone());
        Self {
            registry,
            requests,
            request_seconds,
            attestations,
            grants,
            federation_fetches,
            database_roles,
            break_glass,
            shadow,
            exchanges,
            connections,
            failed_handshakes,
            bridge,
            exceptions_live,
            exceptions_ending,
            exceptions_rotation_due,
            exception_rotations,
            exception_alerts,
        }
    }

    /// Counts a request to the bridge.
    pub(crate) fn bridge(&self, outcome: &'static str) {
        self.bridge.get_or_create(&BridgeLabels { outcome }).inc();
    }

    /// The text that a scraper reads.
    pub(crate) fn render(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

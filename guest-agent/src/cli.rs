//! The command line.

mod clevis;
mod lease;
mod luks;
mod scan;
mod tpm;
mod unlock;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use evidence_formats::{binding::Nonce, bytes::ReportData};
use tee::MetadataService;

pub(crate) use self::{
    clevis::ClevisKeyArgs,
    lease::{LeaseArgs, LeaseCommand},
    luks::{DiskArgs, LuksAct, LuksArgs, PlaceArgs},
    scan::ScanArgs,
    tpm::{AkChoice, EnrollChoice, TpmArgs},
    unlock::{ConsoleArgs, CryptsetupArgs, UnlockArgs},
};

/// Fetches keys and secrets for a confidential guest by proving what runs in it.
///
/// Exit status: 0 done; 1 the broker refused (final, the reasons are on standard error); 2 wrong usage, settings or output
/// file; 3 the broker could not be reached, or its answer is no good; 4 this machine gave no usable evidence; 5 another server
/// than the pinned broker answers; 6 this machine's clock does not fit the broker's certificate; 7 the disk does not open.
/// `scan`: 0 nothing found; 1 static secrets found; 8 nothing found, and not everything could be looked at.
#[derive(Debug, Parser)]
#[command(name = "countersign-agent", version, disable_help_subcommand = true)]
pub struct Cli {
    /// Settings file (TOML); flags override it. /etc/countersign/agent.toml is read when it is there.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) tee: TeeArgs,

    #[command(flatten)]
    pub(crate) tpm: TpmArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the hardware is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TeeArgs {
    /// Where the kernel has configfs-tsm (default /sys/kernel/config/tsm/report).
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) tsm_root: Option<PathBuf>,

    /// The SEV-SNP guest device, used where there is no configfs-tsm (default /dev/sev-guest).
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) sev_guest_device: Option<PathBuf>,

    /// TDX: the firmware's event log (default /sys/firmware/acpi/tables/data/CCEL).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) cc_event_log: Option<PathBuf>,

    /// TDX: the directory of the measurement registers (default /sys/devices/virtual/misc/tdx_guest/measurements).
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) measurement_registers: Option<PathBuf>,

    /// TDX: the log of what `extend` measured (default /run/countersign/runtime-eventlog).
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) runtime_event_log: Option<PathBuf>,

    /// The init-data (TOML) that the host handed over at launch; it goes with the evidence.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) init_data: Option<PathBuf>,

    /// Azure: the metadata service (default http://169.254.169.254).
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) metadata_service: Option<MetadataService>,

    /// The privilege level (SNP: VMPL) to report; default: the most privileged that this guest may ask for.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = clap::value_parser!(u8).range(0..=3))]
    pub(crate) privilege_level: Option<u8>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Writes an evidence bundle for given report data, or for a nonce and a guest key. Asks no broker.
    Evidence(EvidenceArgs),
    /// Attests and writes the attestation result, a signed token, for a relying party.
    Attest(AttestArgs),
    /// Attests and writes a secret that the broker releases to this guest.
    Get(GetArgs),
    /// Attests and writes a credential: a token for another system, or a SPIFFE identity.
    Credentials(CredentialsArgs),
    /// Serves identities to the workloads of this guest: the SPIFFE Workload API on a Unix socket, and files. Everything is
    /// renewed by fresh evidence at two thirds of its life, and given back when the agent ends. What is served, and to
    /// whom, stands in the settings file, in [serve]; SIGHUP has it read again.
    Serve {
        #[command(flatten)]
        broker: BrokerArgs,
    },
    /// Renews or gives back what `get` or `credentials` fetched with --lease-file.
    Lease(LeaseArgs),
    /// Measures an event into a run-time register (TDX) and keeps it in the log that goes with the evidence. It cannot be
    /// taken back until the next boot.
    Extend(ExtendArgs),
    /// Enrols the attestation key of this machine's TPM and writes what the broker says of it (JSON).
    Enroll(EnrollArgs),
    /// Fetches the key of a LUKS2 disk and hands it to what opens the disk: systemd-cryptsetup at its socket, cryptsetup, or a
    /// pipe. It keeps trying for 15 minutes while the broker cannot be reached; a refusal is final.
    Unlock(UnlockArgs),
    /// Looks for static secrets in an image or a running system. Says where and by which rule, never the value.
    Scan(Box<ScanArgs>),
    /// Slots of a LUKS2 disk for the broker's key: enrolment, change of the key, recovery.
    Luks(LuksArgs),
    /// Writes the key of the clevis pin `countersign` for jose. The pin runs it; see clevis-encrypt-countersign(1).
    ClevisKey(ClevisKeyArgs),
    /// Writes the manual, a page for each command.
    Man {
        /// Directory that gets the pages, for example /usr/local/share/man/man1.
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}

/// `credentials`
#[derive(Debug, Args)]
pub(crate) struct CredentialsArgs {
    #[command(subcommand)]
    pub(crate) credential: Credential,
}

/// What to fetch. Files have mode 0600 and are replaced as a whole: a reader sees the old one or the new one.
#[derive(Debug, Subcommand)]
pub(crate) enum Credential {
    /// A token for a system that federates with the broker.
    Token(TokenArgs),
    /// A SPIFFE identity as a token.
    JwtSvid {
        #[command(flatten)]
        token: TokenArgs,

        /// Who the token is for.
        #[arg(long, value_name = "AUD")]
        audience: String,
    },
    /// A token for an audience, in exchange for a token of somebody on whose behalf this guest acts, or for its own attestation
    /// alone. It is bound to a key: whoever uses it proves the key by DPoP.
    Exchange(Box<ExchangeArgs>),
    /// A SPIFFE identity as a certificate for a key that is made here and goes nowhere else.
    X509Svid {
        /// Name of the identity.
        #[arg(value_name = "NAME")]
        name: String,

        #[command(flatten)]
        broker: BrokerArgs,

        /// Directory that gets svid.pem (private key, then certificate) and bundle.pem (the CAs to trust).
        #[arg(long, value_name = "DIR")]
        directory: PathBuf,

        /// Keeps the lease, with the key that renews it, in this file.
        #[arg(long, value_name = "FILE")]
        lease_file: Option<PathBuf>,
    },
    /// A database role that is made for this guest and dropped with its lease.
    Postgres(PostgresArgs),
    /// A short-lived SSH certificate for a key that stays here.
    SshCert(SshCertArgs),
}

/// `credentials postgres`
#[derive(Debug, Args)]
pub(crate) struct PostgresArgs {
    /// Name of the role.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,

    /// How it is written.
    #[arg(long, value_enum, default_value_t = PostgresForm::Service)]
    pub(crate) form: PostgresForm,

    /// Where to write it; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Where to write the CA of the database server, which service and URI then name as sslrootcert.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca_out: Option<PathBuf>,

    /// Keeps the lease in this file (mode 0600), for `lease renew` and `lease release`.
    #[arg(long, value_name = "FILE")]
    pub(crate) lease_file: Option<PathBuf>,
}

/// Forms of a database role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PostgresForm {
    /// A service file: PGSERVICEFILE=FILE psql service=NAME.
    Service,
    /// A password file: PGPASSFILE=FILE.
    Pgpass,
    /// A connection URI.
    Uri,
    /// As the broker said it.
    Json,
}

/// `credentials ssh-cert`
#[derive(Debug, Args)]
pub(crate) struct SshCertArgs {
    /// Name of the certificate.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,

    /// The private key (OpenSSH's format), made when it is not there. Its public half is in FILE.pub, or, for a key in an
    /// agent or a device, only there. The certificate is written to FILE-cert.pub, where ssh looks for it.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,

    /// Keeps the lease in this file (mode 0600), for `lease renew` and `lease release`.
    #[arg(long, value_name = "FILE")]
    pub(crate) lease_file: Option<PathBuf>,
}

/// `credentials exchange`
#[derive(Debug, Args)]
pub(crate) struct ExchangeArgs {
    /// Whom the token is for.
    #[arg(value_name = "AUDIENCE")]
    pub(crate) audience: String,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,

    /// File with the private key (PKCS#8 PEM, P-256) that the guest attests for and the token is bound to. Made, of mode 0600,
    /// when it is not there.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,

    /// File with the token of the one on whose behalf the guest acts, such as a Kubernetes service account token; `-` is
    /// standard input. Without it the guest acts for itself.
    #[arg(long, value_name = "FILE")]
    pub(crate) subject_token: Option<PathBuf>,

    /// A scope to ask for; may be given more than once. Without any: all that may be had.
    #[arg(long, value_name = "SCOPE")]
    pub(crate) scope: Vec<String>,

    /// What for, for policy and record.
    #[arg(long, value_name = "TEXT")]
    pub(crate) purpose: Option<String>,

    /// Which task, for policy and record.
    #[arg(long, value_name = "TEXT")]
    pub(crate) task: Option<String>,

    /// Seconds that are enough.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) expires_in: Option<u32>,

    /// What to write.
    #[arg(long, value_enum, default_value_t = TokenFormat::Token)]
    pub(crate) format: TokenFormat,

    /// Where to write it, a file of mode 0600; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// What of an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum TokenFormat {
    /// The token alone.
    Token,
    /// The whole answer, JSON.
    Json,
}

/// A token, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// Name of the token or identity.
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,

    /// Where to write it; `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Keeps the lease, with the key that renews it, in this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) lease_file: Option<PathBuf>,
}

/// `extend`
#[derive(Debug, Args)]
pub(crate) struct ExtendArgs {
    /// Who speaks, for example example.org/app.
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: String,

    /// What was done, for example start.
    #[arg(long, value_name = "NAME")]
    pub(crate) operation: String,

    /// The register: 2 for the system, 3 for applications.
    #[arg(long, value_name = "NUMBER", default_value_t = 3, value_parser = clap::value_parser!(u8).range(2..=3))]
    pub(crate) register: u8,

    /// To what: one line of text, for example the digest of an image.
    #[arg(value_name = "CONTENT")]
    pub(crate) content: String,
}

/// `evidence`
#[derive(Debug, Args)]
pub(crate) struct EvidenceArgs {
    /// The exact 64 bytes to report, in hex.
    #[arg(long, value_name = "HEX", required_unless_present = "nonce", conflicts_with_all = ["nonce", "tee_key"])]
    pub(crate) report_data: Option<ReportData>,

    /// A broker's or verifier's nonce, in base64url.
    #[arg(long, value_name = "B64URL", requires = "tee_key")]
    pub(crate) nonce: Option<Nonce>,

    /// The public key (JWK) that the evidence is to bind beside the nonce.
    #[arg(long, value_name = "FILE", requires = "nonce")]
    pub(crate) tee_key: Option<PathBuf>,

    /// Encoding of the bundle.
    #[arg(long, value_enum, default_value_t = BundleFormat::Json)]
    pub(crate) format: BundleFormat,

    /// Where to write it; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) out: PathBuf,
}

/// Encodings of an evidence bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BundleFormat {
    /// A CMW collection in JSON.
    Json,
    /// A CMW collection in CBOR.
    Cbor,
}

/// `attest`
#[derive(Debug, Args)]
pub(crate) struct AttestArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,

    /// Form of the result.
    #[arg(long, value_enum)]
    pub(crate) profile: Option<Profile>,

    /// Where to write the token; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) out: PathBuf,
}

/// Forms of an attestation result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// EAR draft-04.
    Ear04,
    /// The form that relying parties of 2023 read.
    Legacy,
}

impl Profile {
    pub(crate) const fn tag(self) -> &'static str {
        match self {
            Self::Ear04 => "tag:ietf.org,2026:rats/ear#04",
            Self::Legacy => "tag:github.com,2023:veraison/ear",
        }
    }
}

/// `get`
#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// Name of the secret.
    #[arg(value_name = "SECRET")]
    pub(crate) secret: String,

    #[command(flatten)]
    pub(crate) broker: BrokerArgs,

    /// Where to write its value: a new file of mode 0600, or `-` for standard output. Standard output is also the default,
    /// unless it is a terminal.
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Replaces the file when it exists already.
    #[arg(long, requires = "out")]
    pub(crate) replace: bool,

    /// Which version, where it is not the current one.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) version: Option<u32>,

    /// Has the broker seal the value once more: only this machine opens it, and only in the state that the broker knows.
    #[arg(long, value_enum, value_name = "WHERE")]
    pub(crate) seal: Option<Seal>,

    /// Keeps the lease, with the key that renews it, in this file.
    #[arg(long, value_name = "FILE", conflicts_with = "seal")]
    pub(crate) lease_file: Option<PathBuf>,
}

/// Where a secret is to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Seal {
    /// In the TPM, while its PCRs are the reference values.
    Tpm,
}

impl Seal {
    /// As the broker reads it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Tpm => "tpm",
        }
    }
}

/// `enroll`
#[derive(Debug, Args)]
pub(crate) struct EnrollArgs {
    #[command(flatten)]
    pub(crate) broker: BrokerArgs,

    /// Where to write it; `-` is standard output.
    #[arg(long, value_name = "FILE", default_value = "-")]
    pub(crate) out: PathBuf,
}

/// Whom to ask, and how to know that it is them.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct BrokerArgs {
    /// Address of the broker: https://host[:port], with /t/NAME for a tenant.
    #[arg(long, value_name = "URL")]
    pub(crate) broker: Option<String>,

    /// Certificate of the authority that signed the broker's certificate (PEM).
    #[arg(long, value_name = "FILE")]
    pub(crate) broker_ca: Option<PathBuf>,

    /// SHA-256 of the broker's public key (SPKI), as sha256/BASE64; may be given more than once.
    #[arg(long, value_name = "PIN")]
    pub(crate) broker_spki: Vec<String>,

    /// Kind of the fresh key that answers are sealed to (default p256).
    #[arg(long, value_enum)]
    pub(crate) key_type: Option<KeyKind>,

    /// Seconds to keep trying while the broker cannot be reached (default 60).
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) timeout: Option<u64>,
}

/// Kinds of guest keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, serde::Deserialize)]
pub(crate) enum KeyKind {
    /// ECDH on P-256.
    #[default]
    #[value(name = "p256")]
    #[serde(rename = "p256")]
    P256,
    /// X25519.
    #[value(name = "x25519")]
    #[serde(rename = "x25519")]
    X25519,
    /// X-Wing: X25519 with ML-KEM-768, safe against a future quantum computer.
    #[value(name = "x-wing")]
    #[serde(rename = "x-wing")]
    XWing,
}

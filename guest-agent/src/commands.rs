//! What the commands do.

use std::{fs, path::Path};

use clap::CommandFactory;
use evidence_formats::{
    binding::BindingDigest,
    bytes::ReportData,
    eventlog::{RuntimeEvent, RuntimeRegister},
};
use keys::{jwk::TeePublicKey, secret::SecretBytes};
use tee::{Collected, Paths, detect};
use tokio::runtime;

use crate::{
    cli::{
        AttestArgs, BrokerArgs, BundleFormat, Cli, Command, EnrollArgs, EnrollChoice, EvidenceArgs, ExtendArgs, GetArgs,
    },
    console,
    exchange::{Answer, Ask, Exchange, Wanted},
    failure::Failure,
    lease::Want,
    output::Output,
    process, serve,
    settings::{SettingsError, SettingsFile},
};

mod clevis;
mod credentials;
mod exchange;
mod lease;
mod luks;
mod postgres;
mod scan;
mod ssh;
mod unlock;

/// Runs the command.
///
/// # Errors
/// [`Failure`] says why, and has the exit status.
pub fn run(cli: Cli) -> Result<(), Failure> {
    process::harden().map_err(|errno| Failure::Process(errno.into()))?;
    let settings = SettingsFile::load(cli.config.as_deref())?;
    let paths = Paths { tpm: settings.tpm(&cli.tpm)?, ..settings.tee(&cli.tee)? };
    let guest = Guest { enroll: settings.enroll(&cli.tpm), settings, paths };
    match cli.command {
        Command::Evidence(args) => evidence(&args, &guest.paths),
        Command::Attest(args) => attest(&args, &guest),
        Command::Get(args) => get(&args, &guest),
        Command::Enroll(args) => enroll(&args, &guest),
        Command::Man { directory } => Ok(Output::manual(Cli::command(), &directory)?),
        Command::Credentials(args) => credentials::write(&args.credential, &guest),
        Command::Scan(args) => scan::scan(&args, &guest),
        Command::Extend(args) => extend(&args, &guest.paths),
        Command::ClevisKey(args) => clevis::key(&args, &guest),
        Command::Luks(args) => luks::luks(&args.act, &guest),
        Command::Unlock(args) => unlock::unlock(&args, &guest),
        Command::Lease(args) => lease::run(&args.command, &guest),
        Command::Serve { broker } => serve(&broker, cli.config.as_deref(), &guest),
    }
}

fn evidence(args: &EvidenceArgs, paths: &Paths) -> Result<(), Failure> {
    let report_data = report_data(args)?;
    let Collected { bundle, warnings } = detect(paths)?.collect(&report_data)?;
    for warning in warnings {
        console::say(&format!("warning: {warning}"));
    }
    let encoded = match args.format {
        BundleFormat::Json => bundle.to_json(),
        BundleFormat::Cbor => bundle.to_cbor(),
    };
    let encoded = encoded.map_err(|error| Failure::Make { what: "the bundle", reason: error.to_string() })?;
    Ok(Output::public(&args.out).write(&encoded)?)
}

fn report_data(args: &EvidenceArgs) -> Result<ReportData, Failure> {
    if let Some(report_data) = args.report_data {
        return Ok(report_data);
    }
    let (Some(nonce), Some(path)) = (args.nonce, &args.tee_key) else { return Err(SettingsError::NoReportData.into()) };
    let digest = BindingDigest::native(&nonce, &tee_key(path)?);
    let digest = digest.map_err(|error| Failure::Make { what: "the binding", reason: error.to_string() })?;
    Ok(digest.report_data())
}

fn tee_key(path: &Path) -> Result<TeePublicKey, Failure> {
    let key = fs::read(path).ok().and_then(|json| TeePublicKey::parse(&json).ok());
    key.ok_or_else(|| Failure::Argument { expected: "the JWK of a guest key", path: path.to_owned() })
}

/// What every exchange with a broker starts from.
struct Guest {
    settings: SettingsFile,
    paths: Paths,
    enroll: EnrollChoice,
}

fn attest(args: &AttestArgs, guest: &Guest) -> Result<(), Failure> {
    let output = Output::public(&args.out);
    let answer = guest.ask(&args.broker, Ask { profile: args.profile, grant: None, report: None })?;
    let mut token = answer.result.into_bytes();
    token.push(b'\n');
    Ok(output.write(&token)?)
}

fn get(args: &GetArgs, guest: &Guest) -> Result<(), Failure> {
    let output = Output::secret(args.out.as_deref(), args.replace)?;
    if let Some(file) = &args.lease_file {
        let want = Want::Secret { name: args.secret.clone() };
        return lease::fetch(want, file, &args.broker, guest, |given| lease::write_value(&output, given));
    }
    let wanted = Wanted { seal: args.seal, version: args.version, ..Wanted::of("secret", &args.secret) };
    let secret = guest.grant(&args.broker, wanted)?;
    Ok(output.write(secret.expose())?)
}

fn extend(args: &ExtendArgs, paths: &Paths) -> Result<(), Failure> {
    let event = RuntimeEvent::new(&args.domain, &args.operation, &args.content)?;
    let register = RuntimeRegister::from_number(args.register).unwrap_or(RuntimeRegister::Rtmr3);
    Ok(tee::extend(&paths.registers, register, &event)?)
}

fn enroll(args: &EnrollArgs, guest: &Guest) -> Result<(), Failure> {
    let output = Output::public(&args.out);
    let enrolled = guest.run(&args.broker, async |exchange| exchange.enrol().await)?;
    let json = serde_json::to_vec(&enrolled);
    let mut json = json.map_err(|error| Failure::Make { what: "JSON", reason: error.to_string() })?;
    json.push(b'\n');
    Ok(output.write(&json)?)
}

fn serve(broker: &BrokerArgs, config: Option<&Path>, guest: &Guest) -> Result<(), Failure> {
    let settings = guest.settings.serve()?;
    let reread = || {
        let reread = SettingsFile::load(config).and_then(|settings| settings.serve());
        reread.map_err(|error| console::say(&console::chain(&error))).ok()
    };
    let exchange = guest.exchange(broker)?;
    block_on(async move { Ok(serve::run(exchange, settings, reread).await?) })
}

impl Guest {
    /// One grant, opened.
    fn grant(&self, broker: &BrokerArgs, wanted: Wanted<'_>) -> Result<SecretBytes, Failure> {
        self.versioned(broker, wanted).map(|(_version, value)| value)
    }

    /// One grant, opened, and which version it is.
    fn versioned(&self, broker: &BrokerArgs, wanted: Wanted<'_>) -> Result<(u64, SecretBytes), Failure> {
        let answer = self.ask(broker, Ask { profile: None, grant: Some(wanted), report: None })?;
        answer.secret.ok_or(Failure::Answer { expected: "the grant" })
    }

    fn ask(&self, broker: &BrokerArgs, ask: Ask<'_>) -> Result<Answer, Failure> {
        self.run(broker, async |exchange| exchange.run(ask).await)
    }

    fn run<T>(
        &self,
        broker: &BrokerArgs,
        run: impl AsyncFnOnce(&Exchange) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let exchange = self.exchange(broker)?;
        block_on(run(&exchange))
    }

    fn exchange(&self, broker: &BrokerArgs) -> Result<Exchange, Failure> {
        Exchange::new(self.settings.broker(broker)?, detect(&self.paths)?, self.enroll)
    }
}

/// Runs `future` to its end on this thread.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Make { what: "the runtime", reason: error.to_string() })?;
    let done = runtime.block_on(future);
    // Hardware that never answers must not keep the process: its thread is left behind.
    runtime.shutdown_background();
    done
}

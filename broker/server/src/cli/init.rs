//! `countersign init`: everything a broker needs, made once.
//!
//! The directory is built beside its final place and moved there in one step: it is complete, or it is not there.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::digest::{SHA256, digest};
use keys::{envelope::RootKey, random::SystemRandom, secret::SecretBytes};

use super::output::{self, Format};
use crate::{
    authority::{self, Issued},
    broker::{STORE_FILE, read_root_key},
    clock, hardening,
    identity::ensure_keys,
    nonce::NonceKey,
    store::{Administrator, KeyPurpose, KeyStore, Role, TenantId, sqlite::SqliteStore},
    vault::Vault,
};

/// Arguments of `countersign init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory to make; it must not exist, or be empty
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Where the broker will listen
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// DNS name or IP address under which guests reach the broker; may be repeated, the first one names it
    #[arg(long = "name", value_name = "NAME", default_values = ["localhost", "127.0.0.1", "::1"])]
    names: Vec<String>,
    /// Fetch nothing from AMD and Intel: endorsements come by `countersign endorsements import` or as files
    #[arg(long)]
    offline: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// What was made, for programs.
#[derive(Debug, serde::Serialize)]
struct Made {
    config: PathBuf,
    ca: PathBuf,
    admin: PathBuf,
    url: String,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    match init(args) {
        Ok(made) => {
            announce(&made, args.format);
            ExitCode::SUCCESS
        }
        Err(error) => output::fail(&error, output::REFUSED),
    }
}

fn init(args: &Args) -> Result<Made> {
    hardening::harden().context("the process could not be protected")?;
    let url = url(args)?;
    let place = absolute(&args.dir)?;
    require_absent(&place)?;
    let parent = place.parent().context("expected a directory with a parent")?;
    let building = parent.join(format!(".countersign-init-{}", std::process::id()));
    let built = build(&building, args, &url)
        .and_then(|()| fs::rename(&building, &place).with_context(|| format!("{} exists already", place.display())));
    if built.is_err() {
        let _nothing_left_behind = fs::remove_dir_all(&building);
    }
    built?;
    Ok(Made { config: place.join("countersign.toml"), ca: place.join("tls/ca.pem"), admin: place.join("admin"), url })
}

fn url(args: &Args) -> Result<String> {
    let name = args.names.first().context("expected at least one --name")?;
    let host = if name.contains(':') { format!("[{name}]") } else { name.clone() };
    Ok(format!("https://{host}:{}", args.listen.port()))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("{} is not a path", path.display()))
}

fn require_absent(place: &Path) -> Result<()> {
    match fs::read_dir(place) {
        Ok(mut entries) => {
            ensure!(entries.next().is_none(), "{} is not empty: nothing was changed", place.display());
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => bail!("{}: {error}", place.display()),
    }
}

fn build(directory: &Path, args: &Args, url: &str) -> Result<()> {
    make_directory(directory)?;
    for part in ["admin", "ca", "data", "endorsements", "tls"] {
        make_directory(&directory.join(part))?;
    }
    write_new(&directory.join("root.key"), &RootKey::generate(&mut SystemRandom::new())?.to_file_bytes())?;
    let server_ca = authority::ca("Countersign server CA")?;
    let admin_ca = authority::ca("Countersign administrators CA")?;
    let server = authority::server_certificate(&server_ca, &args.names)?;
    let admin = authority::client_certificate(&admin_ca, "admin")?;
    let files = [
        ("ca/ca.key", server_ca.key().serialize_pem()),
        ("ca/admin-ca.key", admin_ca.key().serialize_pem()),
        ("tls/ca.pem", server_ca.pem()),
        ("tls/admin-ca.pem", admin_ca.pem()),
        ("tls/server.pem", server.certificate_pem.clone()),
        ("tls/server.key", server.key_pem.clone()),
        ("admin/client.pem", admin.certificate_pem.clone()),
        ("admin/client.key", admin.key_pem.clone()),
        ("admin/ca.pem", server_ca.pem()),
        ("admin/admin.toml", admin_toml(url)),
        ("countersign.toml", countersign_toml(args, url)),
    ];
    for (name, content) in files {
        write_new(&directory.join(name), &SecretBytes::new(content.into_bytes()))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fill_store(directory, &admin))
}

/// The keys that all replicas share, and the first administrator.
async fn fill_store(directory: &Path, admin: &Issued) -> Result<()> {
    let store = std::sync::Arc::new(SqliteStore::open(&directory.join("data").join(STORE_FILE)).await?);
    let vault = Vault::new(store.clone(), read_root_key(&directory.join("root.key"))?);
    let now = clock::now();
    let nonce_key = SecretBytes::new(NonceKey::generate()?.to_vec());
    vault.put_key(KeyPurpose::Nonce, "nonce-1", &nonce_key, now, now).await?;
    // The CA of SVIDs is made by the first start: the configuration says what certifies it.
    ensure_keys(&vault, None, now).await?;
    let fingerprint = digest(&SHA256, &admin.certificate_der).as_ref().try_into()?;
    let administrator = Administrator { fingerprint, name: "admin".to_owned(), role: Role::Admin };
    store.insert_administrator(&TenantId::default_tenant(), &administrator, now).await?;
    store.close().await;
    Ok(())
}

fn make_directory(path: &Path) -> Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path).with_context(|| format!("{} cannot be made", path.display()))
}

/// Writes a file that only its owner can read, and that was not there before.
pub(crate) fn write_new(path: &Path, content: &SecretBytes) -> Result<()> {
    let write = || -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(content.expose())?;
        file.sync_all()
    };
    write().with_context(|| format!("{} cannot be written", path.display()))
}

/// `admin.toml` for the broker at `url`.
pub(crate) fn admin_toml(url: &str) -> String {
    format!(
        "# How `countersign secrets`, `policy`, `reference-values` and `explain` reach the broker: --admin DIR\n\
         url = \"{url}\"\nca = \"ca.pem\"\ncertificate = \"client.pem\"\nkey = \"client.key\"\n"
    )
}

/// The vendors' own services. They learn which chips are attested here; docs/endorsements.md says how to put a mirror between.
const SOURCES: &str = "[endorsements]\n\
    sources = [\n    \
    { kind = \"kds\", url = \"https://kdsintf.amd.com\" },\n    \
    { kind = \"pcs\", url = \"https://api.trustedservices.intel.com\" },\n\
    ]\n\n";

fn countersign_toml(args: &Args, url: &str) -> String {
    format!(
        "# Made by `countersign init`. Every setting is described in docs/countersign.toml.\n\
         listen = \"{listen}\"\n\
         data_dir = \"data\"\n\
         root_key = \"root.key\"\n\
         issuer = \"{url}\"\n\
         audience = \"{url}\"\n\n\
         [tls]\n\
         certificate = \"tls/server.pem\"\n\
         key = \"tls/server.key\"\n\
         admin_ca = \"tls/admin-ca.pem\"\n\n\
         {sources}[verification]\n\
         revocation = \"require\"\n\
         endorsements = \"endorsements\"\n",
        listen = args.listen,
        sources = if args.offline { "" } else { SOURCES },
    )
}

fn announce(made: &Made, format: Format) {
    if format == Format::Json {
        output::print_json(made);
        return;
    }
    let (config, ca, admin) = (made.config.display(), made.ca.display(), made.admin.display());
    output::print(&format!(
        "The broker is ready to start. Next:\n\
         \n  1. Vendors' certificates and CRLs are fetched as configured in [endorsements] of {config}; files in the\n     \
               directory endorsements count, too, and without a network: countersign endorsements import.\n\
         \n  2. countersign serve --config {config}\n\
         \n  3. countersign reference-values add MEASUREMENTS.json --admin {admin}\n     \
               countersign secrets put disk-key --file KEYFILE --workload WORKLOAD --admin {admin}\n\
         \n  4. Bake {ca} into the measured guest image: the agent trusts this broker and no other.\n\
         \nKeep off this machine: the directory ca (needed for new certificates only). Back up together: root.key and data.\n\
         Whoever has {admin} administers the broker at {url}.",
        url = made.url,
    ));
}

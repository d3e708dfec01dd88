//! A tenant of a broker, and the credential of its first administrator.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;

use crate::{
    binaries::binary,
    broker::{Broker, GOOD_MEASUREMENT, WORKLOAD, release_policy},
    http::Client,
    process::Said,
};

/// A tenant that the configuration of its broker names.
#[derive(Debug)]
pub struct Tenant {
    directory: TempDir,
    path: String,
    url: String,
    ca: PathBuf,
    anonymous: Client,
}

impl Tenant {
    /// The tenant `name` of `broker`, whose operator makes its first administrator.
    ///
    /// # Errors
    /// When the broker does not have it.
    pub fn of(broker: &Broker, name: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut add = broker.admin(&["administrators", "add", &format!("{name}-admin"), "--role", "admin"])?;
        add.args(["--tenant", name, "--out"]).arg(directory.path().join("admin"));
        add.arg("--ca").arg(broker.place().join("tls/admin-ca.pem"));
        Said::by(add.arg("--ca-key").arg(broker.place().join("ca/admin-ca.key")))?.done()?;
        let path = format!("/t/{name}");
        Ok(Self {
            directory,
            url: format!("{}{path}", broker.url()),
            ca: broker.ca(),
            anonymous: broker.client()?.under(&path),
            path,
        })
    }

    /// Its address: that of its broker, with its path.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// A client of its API.
    #[must_use]
    pub fn client(&self) -> Client {
        self.anonymous.clone()
    }

    /// A client of its API with its administrator's certificate.
    ///
    /// # Errors
    /// When certificate or key cannot be read.
    pub fn administrator(&self) -> Result<Client> {
        Ok(self.administrator_anywhere()?.under(&self.path))
    }

    /// The same, but for the paths of the whole broker.
    ///
    /// # Errors
    /// When certificate or key cannot be read.
    pub fn administrator_anywhere(&self) -> Result<Client> {
        Client::administrator(self.anonymous.port(), &self.ca, &self.directory.path().join("admin"))
    }

    /// `countersign ARGS --admin DIR`.
    ///
    /// # Errors
    /// When the binary is missing.
    pub fn admin(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(binary("countersign")?);
        command.args(args).arg("--admin").arg(self.directory.path().join("admin"));
        Ok(command)
    }

    /// Makes softtee's healthy guest known as [`WORKLOAD`].
    ///
    /// # Errors
    /// When the broker does not take it.
    pub fn knows_the_guest(&self) -> Result<()> {
        let set = json!({
            "id": "web-test",
            "version": 1,
            "workload": WORKLOAD,
            "not_before": "2020-01-01T00:00:00Z",
            "not_after": "2100-01-01T00:00:00Z",
            "provenance": "softtee's healthy guest",
            "measurements": [{"launch": hex::encode(GOOD_MEASUREMENT)}],
        });
        let document = json!({"format": "countersign.reference-values/1", "sets": [set]});
        let file = self.file("reference-values.json", document.to_string().as_bytes())?;
        Said::by(self.admin(&["reference-values", "add"])?.arg(file))?.done()?;
        Ok(())
    }

    /// Releases to simulated platforms, as the tests' brokers do.
    ///
    /// # Errors
    /// When the broker does not take the policy.
    pub fn releases_to_simulated(&self) -> Result<()> {
        let file = self.file("release.rego", release_policy()?.as_bytes())?;
        Said::by(self.admin(&["policy", "set", "release"])?.arg(file))?.done()?;
        Ok(())
    }

    /// Stores a secret for [`WORKLOAD`].
    ///
    /// # Errors
    /// When the broker does not say that it is stored.
    pub fn put_secret(&self, name: &str, value: &[u8]) -> Result<()> {
        let file = self.file("secret", value)?;
        Said::by(self.admin(&["secrets", "put", name, "--workload", WORKLOAD])?.arg("--file").arg(file))?.done()?;
        Ok(())
    }

    /// The directory of its administrator's credential.
    #[must_use]
    pub fn credential(&self) -> PathBuf {
        self.directory.path().join("admin")
    }

    fn file(&self, name: &str, content: &[u8]) -> Result<PathBuf> {
        let path: &Path = self.directory.path();
        let path = path.join(name);
        fs::write(&path, content)?;
        Ok(path)
    }
}

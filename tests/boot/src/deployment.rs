//! A broker, an image that trusts it, and disks that only its key opens.

use std::{
    fs::{self, Permissions},
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use e2e::{
    broker::{Broker, Setup},
    process::Said,
};
use serde_json::Value;
use softtee::{pem, swtpm::TpmPki};
use tempfile::TempDir;

use crate::{
    files::BootFiles,
    machine::{Boot, Machine},
    processor::Processor,
    recipes::{Image, Recipes, Root, Volume, WORKLOAD},
    vtpm::Vtpm,
};

/// The label of the data volume.
const DATA: &str = "data";

/// What the workload reads from the data volume and shows.
pub const PROOF: &str = "the data volume is what it should be";

/// What the console shows when all is well.
pub const RAN: &str = "workload: ran, and reads: the data volume is what it should be";

/// What the console shows when a boot was stopped.
pub const STOPPED: &str = "countersign: STOPPED, the disks stay closed";

/// How a deployment differs from a good one.
#[derive(Debug, Clone, Copy)]
pub struct Plan<'a> {
    /// What the root file system is.
    pub root: Root,
    /// Whether there is a secure processor.
    pub has_processor: bool,
    /// The authority that the image trusts, instead of the broker's.
    pub trusts: Option<&'a Path>,
    /// Whether real systemd opens the data volume, and starts the workload.
    pub systemd: bool,
}

impl Default for Plan<'_> {
    fn default() -> Self {
        Self { root: Root::Verified, has_processor: true, trusts: None, systemd: false }
    }
}

/// Everything that a machine needs to boot.
#[derive(Debug)]
pub struct Deployment {
    /// The broker; stops before the directory goes.
    pub broker: Broker,
    /// The image.
    pub image: Image,
    /// The bytes that open the volumes.
    pub key: Vec<u8>,
    /// Disks, the one with the image first.
    pub disks: Vec<PathBuf>,
    recipes: Recipes,
    processor: Processor,
    directory: TempDir,
}

impl Deployment {
    /// Starts a broker, makes image and disks, and makes their measurements and key known to the broker.
    ///
    /// # Errors
    /// When anything of that fails.
    pub fn new(plan: &Plan<'_>) -> Result<Self> {
        let recipes = Recipes::find()?;
        let directory = tempfile::tempdir()?;
        let place = directory.path();
        let broker = start_broker(place)?;
        let processor = Processor::start()?;
        let key_file = place.join("key");
        let key = new_key(&key_file)?;
        write_settings(&place.join("settings"), plan, &broker, &processor)?;
        write_workload(&place.join("workload"))?;
        let (settings, workload, out) = (place.join("settings"), place.join("workload"), place.join("image"));
        let image = if plan.systemd {
            recipes.assemble_systemd(&settings, &workload, &out)?
        } else {
            recipes.assemble(&settings, &workload, plan.root, &out)?
        };
        for document in recipes.measure(&image)? {
            let mut add = broker.admin(&["reference-values", "add"])?;
            Said::by(add.arg(document))?.done()?;
        }
        let mut put = broker.admin(&["secrets", "put", "disk-key", "--workload", WORKLOAD])?;
        Said::by(put.arg("--file").arg(&key_file))?.done()?;
        let mut disks = vec![image.file("disk.raw")];
        let content = place.join("content");
        fs::create_dir(&content)?;
        fs::write(content.join("proof"), PROOF)?;
        let mut volumes = vec![(DATA, content)];
        if plan.root == Root::Encrypted {
            volumes.push((Root::LABEL, image.file("root")));
        }
        for (label, content) in volumes {
            let out = place.join(label);
            recipes.encrypt(&Volume { content: &content, label, key: &key_file }, &out)?;
            disks.push(out);
        }
        Ok(Self { broker, image, key, disks, recipes, processor, directory })
    }

    /// Boots the image as it is.
    ///
    /// # Errors
    /// When the machine does not start.
    pub fn boot(&self) -> Result<Machine> {
        let files = BootFiles::of(&self.image)?;
        self.boot_files(&files, &files.hash_table()?)
    }

    /// Boots these files under this table. What the hardware measures is what it was handed.
    ///
    /// # Errors
    /// When the machine does not start.
    pub fn boot_files(&self, files: &BootFiles, table: &[u8]) -> Result<Machine> {
        self.processor.launches(files.launch_digest()?);
        self.start(&Boot::Direct { files, table }, &self.disks)
    }

    /// Boots from the first disk, with a TPM.
    ///
    /// # Errors
    /// When the machine does not start.
    pub fn boot_disk(&self, tpm: &Vtpm) -> Result<Machine> {
        self.start(&Boot::Disk { firmware: self.recipes.base(), tpm }, &self.disks)
    }

    fn start(&self, boot: &Boot<'_>, disks: &[PathBuf]) -> Result<Machine> {
        Machine::start(boot, &disks.iter().map(PathBuf::as_path).collect::<Vec<_>>())
    }

    /// The reference set of a track, `snp` or `vtpm`, as it was computed when the image was built.
    ///
    /// # Errors
    /// When there is none.
    pub fn predicted(&self, track: &str) -> Result<Value> {
        let text = fs::read_to_string(self.image.file(&format!("reference-values.{track}.json")))?;
        let document: Value = serde_json::from_str(&text)?;
        document.pointer("/sets/0/measurements/0").cloned().context("expected measurements")
    }

    /// What the broker's last decision is about.
    ///
    /// # Errors
    /// When there is none.
    pub fn last_decision(&self) -> Result<Value> {
        let answer = self.broker.administrator()?.send("GET", "/v1/admin/decisions?limit=1", None)?;
        ensure!(answer.status == 200, "expected decisions: {}", answer.text);
        answer.body.pointer("/0").cloned().context("expected a decision")
    }

    /// `countersign workloads --open`: who holds something.
    ///
    /// # Errors
    /// When the broker does not say.
    pub fn inventory(&self) -> Result<String> {
        Said::by(&mut self.broker.admin(&["workloads", "--open"])?)?.done()
    }

    /// What all images have in common.
    #[must_use]
    pub fn base(&self) -> &Path {
        self.recipes.base()
    }

    /// A directory for more.
    #[must_use]
    pub fn place(&self) -> &Path {
        self.directory.path()
    }
}

/// A broker that guests reach as 10.0.2.2, QEMU's name for this machine, and that knows softtee's makers of processors and TPMs.
fn start_broker(place: &Path) -> Result<Broker> {
    let anchors: String = TpmPki::new().anchors().iter().map(|der| pem::certificate(der)).collect();
    let file = place.join("tpm-makers.pem");
    fs::write(&file, anchors)?;
    let more = format!("[enrolment]\nek_trust_anchors = [{file:?}]\napproval = \"automatic\"\nowner = \"tests\"\n");
    Broker::start(&Setup { names: &["127.0.0.1", "10.0.2.2"], more: &more, ..Setup::default() })
}

fn new_key(file: &Path) -> Result<Vec<u8>> {
    let mut key = vec![0; 32];
    fs::File::open("/dev/urandom")?.read_exact(&mut key)?;
    fs::write(file, &key)?;
    Ok(key)
}

fn write_settings(directory: &Path, plan: &Plan<'_>, broker: &Broker, processor: &Processor) -> Result<()> {
    fs::create_dir(directory)?;
    let address = broker.url().replace("127.0.0.1", "10.0.2.2");
    // systemd-cryptsetup says which volume it opens; the settings say which secret that is.
    let settings = format!(
        "broker = {address:?}\nbroker_ca = \"/etc/countersign/broker-ca.pem\"\n[unlock.secrets]\n{DATA} = \"disk-key\"\n"
    );
    fs::write(directory.join("agent.toml"), settings)?;
    fs::copy(plan.trusts.unwrap_or(&broker.ca()), directory.join("broker-ca.pem"))?;
    if plan.has_processor {
        fs::write(directory.join("soft-tsm-port"), processor.port().to_string())?;
    }
    let root = match plan.root {
        Root::Verified => "",
        Root::Encrypted => "root disk-key /\n",
    };
    Ok(fs::write(directory.join("volumes"), format!("{root}{DATA} disk-key /data\n"))?)
}

fn write_workload(directory: &Path) -> Result<()> {
    let programs = directory.join("usr/lib/workload");
    fs::create_dir_all(&programs)?;
    let start = programs.join("start");
    fs::write(&start, "#!/bin/sh\necho \"workload: ran, and reads: $(cat /data/proof)\" >/dev/console\n")?;
    Ok(fs::set_permissions(start, Permissions::from_mode(0o755))?)
}

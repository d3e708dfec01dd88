//! A virtual machine: QEMU without KVM, one processor, a network that reaches this machine and nothing else.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use e2e::process::Process;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{files::BootFiles, hash_table::place, vtpm::Vtpm};

/// MiB of memory.
const MEMORY: u64 = 768;

/// The unit of times in `/proc` on x86-64.
const MILLISECONDS_OF_A_TICK: u64 = 10;

/// How long a boot may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(400);

/// How often, half a second apart, the processor is found in the same loop before it counts as dead.
const DEAD_LOOKS: u32 = 20;

/// How a machine boots.
#[derive(Debug)]
pub enum Boot<'a> {
    /// Firmware that compares what it is handed with a table of hashes.
    Direct {
        /// What it is handed.
        files: &'a BootFiles,
        /// The table.
        table: &'a [u8],
    },
    /// Firmware with a TPM that boots from the first disk.
    Disk {
        /// Directory with `OVMF_CODE_4M.fd` and `OVMF_VARS_4M.fd`.
        firmware: &'a Path,
        /// The TPM.
        tpm: &'a Vtpm,
    },
}

/// A running machine. Dropping it switches it off.
#[derive(Debug)]
pub struct Machine {
    // First: ends before its directory goes.
    process: Process,
    directory: TempDir,
    disks: usize,
}

impl Machine {
    /// Switches it on. Disks are copied: what the guest writes does not stay.
    ///
    /// # Errors
    /// When QEMU does not start.
    pub fn start(boot: &Boot<'_>, disks: &[&Path]) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let at = |name: &str| directory.path().join(name);
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35,smm=off", "-accel", "tcg", "-cpu", "max", "-m", &MEMORY.to_string()]);
        qemu.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
        qemu.arg("-serial").arg(format!("file:{}", at("console").display()));
        qemu.arg("-qmp").arg(format!("unix:{},server=on,wait=off", at("qmp").display()));
        qemu.args([
            "-netdev",
            "user,id=net",
            "-device",
            "virtio-net-pci,netdev=net,romfile=",
            "-device",
            "virtio-rng-pci",
        ]);
        qemu.arg("-object").arg(format!("filter-dump,id=capture,netdev=net,file={}", at("network").display()));
        match boot {
            Boot::Direct { files, table } => direct(&mut qemu, files, table, directory.path())?,
            Boot::Disk { firmware, tpm } => from_disk(&mut qemu, firmware, tpm, directory.path())?,
        }
        for (number, disk) in disks.iter().enumerate() {
            let copy = self::disk(directory.path(), number);
            fs::copy(disk, &copy).with_context(|| format!("expected {}", disk.display()))?;
            qemu.arg("-drive").arg(format!("if=none,id=disk{number},format=raw,file={}", copy.display()));
            // A kernel that is handed over has the first place.
            let place = number.saturating_add(1);
            qemu.arg("-device").arg(format!("virtio-blk-pci,drive=disk{number},bootindex={place}"));
        }
        let log = fs::File::create(at("qemu"))?;
        let process = Process::start(qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log))?;
        Ok(Self { process, directory, disks: disks.len() })
    }

    /// What the console shows.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn console(&self) -> Result<String> {
        let bytes = fs::read(self.directory.path().join("console")).unwrap_or_default();
        Ok(String::from_utf8_lossy(&bytes).replace('\r', ""))
    }

    /// Waits until the console shows `text`; gives all that it shows.
    ///
    /// # Errors
    /// When the machine ends before, or takes too long.
    pub fn wait_for(&mut self, text: &str) -> Result<String> {
        let begun = Instant::now();
        loop {
            let ended = self.process.ended()?.is_some();
            let console = self.console()?;
            if console.contains(text) {
                return Ok(console);
            }
            if ended || begun.elapsed() > PATIENCE {
                let said = fs::read_to_string(self.directory.path().join("qemu"))?;
                bail!("expected {text:?} on the console (ended: {ended}):\n{console}\n{said}");
            }
            sleep(Duration::from_millis(100));
        }
    }

    /// Processor time that the machine took so far, as this machine's kernel counts it: waiting for a busy processor is not in it, what
    /// the guest calls its time is.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn processor_time(&self) -> Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        // After the name, which stands in parentheses: user and system time are the 12th and 13th (proc_pid_stat(5)).
        let fields = stat.rsplit_once(')').context("expected a name")?.1;
        let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        ensure!(ticks.len() == 2, "expected user and system time");
        Ok(Duration::from_millis(ticks.iter().sum::<u64>().saturating_mul(MILLISECONDS_OF_A_TICK)))
    }

    /// Waits until the machine is off; gives all that the console shows.
    ///
    /// # Errors
    /// When it stays on for too long.
    pub fn wait_off(&mut self) -> Result<String> {
        let begun = Instant::now();
        while self.process.ended()?.is_none() {
            ensure!(begun.elapsed() < PATIENCE, "expected the machine to go off:\n{}", self.console()?);
            sleep(Duration::from_millis(100));
        }
        self.console()
    }

    /// Waits until the processor turns in a loop of a few instructions and never leaves it: what the firmware does with contents
    /// that are not those of the table (edk2, `CpuDeadLoop`).
    ///
    /// # Errors
    /// When the machine ends, or goes on for too long.
    pub fn wait_dead(&mut self) -> Result<()> {
        let begun = Instant::now();
        let (mut place, mut looks) = (0_u64, 0_u32);
        while looks < DEAD_LOOKS {
            ensure!(self.process.ended()?.is_none(), "expected a dead loop:\n{}", self.console()?);
            ensure!(begun.elapsed() < PATIENCE, "expected a dead loop:\n{}", self.console()?);
            sleep(Duration::from_millis(500));
            let now = self.instruction()?;
            looks = if now != 0 && now.abs_diff(place) <= 32 { looks.saturating_add(1) } else { 0 };
            if looks == 0 {
                place = now;
            }
        }
        Ok(())
    }

    /// Address of the instruction that the processor is at; 0 while there is no monitor yet.
    fn instruction(&self) -> Result<u64> {
        let socket = self.directory.path().join("qmp");
        if !socket.exists() {
            return Ok(0);
        }
        let mut monitor = Monitor::connect(&socket)?;
        let registers = monitor.run("human-monitor-command", &json!({"command-line": "info registers"}))?;
        let registers = registers.as_str().unwrap_or_default();
        let address = registers.split_whitespace().find_map(|word| word.strip_prefix("RIP="));
        Ok(u64::from_str_radix(address.context("expected an instruction pointer")?, 16)?)
    }

    /// Everything that its network carried (pcap).
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn network(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.directory.path().join("network"))?)
    }

    /// Its disks, as the guest has left them.
    #[must_use]
    pub fn disks(&self) -> Vec<PathBuf> {
        (0..self.disks).map(|number| disk(self.directory.path(), number)).collect()
    }

    /// Halts it and writes all of its memory to a file.
    ///
    /// # Errors
    /// When QEMU refuses.
    pub fn memory(&self) -> Result<PathBuf> {
        let file = self.directory.path().join("memory");
        let mut monitor = Monitor::connect(&self.directory.path().join("qmp"))?;
        monitor.run("stop", &json!({}))?;
        monitor.run("pmemsave", &json!({"val": 0, "size": MEMORY << 20, "filename": file}))?;
        Ok(file)
    }
}

/// The copy of a disk that the guest has.
fn disk(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("disk{number}"))
}

fn direct(qemu: &mut Command, files: &BootFiles, table: &[u8], directory: &Path) -> Result<()> {
    let hashes = directory.join("hashes");
    fs::write(&hashes, table)?;
    let address = place(&fs::read(&files.firmware)?)?;
    qemu.arg("-bios").arg(&files.firmware).arg("-kernel").arg(&files.kernel).arg("-initrd").arg(&files.initrd);
    qemu.args(["-append", &files.command_line]);
    qemu.arg("-device").arg(format!("loader,file={},addr={address:#x},force-raw=on", hashes.display()));
    Ok(())
}

fn from_disk(qemu: &mut Command, firmware: &Path, tpm: &Vtpm, directory: &Path) -> Result<()> {
    let variables = directory.join("variables");
    fs::copy(firmware.join("OVMF_VARS_4M.fd"), &variables)?;
    let code = firmware.join("OVMF_CODE_4M.fd");
    qemu.arg("-drive").arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={}", code.display()));
    qemu.arg("-drive").arg(format!("if=pflash,format=raw,unit=1,file={}", variables.display()));
    qemu.arg("-chardev").arg(format!("socket,id=tpm,path={}", tpm.socket().display()));
    qemu.args(["-tpmdev", "emulator,id=tpm0,chardev=tpm", "-device", "tpm-crb,tpmdev=tpm0"]);
    Ok(())
}

/// QEMU's monitor (QMP).
struct Monitor {
    lines: BufReader<UnixStream>,
}

impl Monitor {
    fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut monitor = Self { lines: BufReader::new(stream) };
        monitor.read()?;
        monitor.run("qmp_capabilities", &json!({}))?;
        Ok(monitor)
    }

    fn run(&mut self, command: &str, arguments: &Value) -> Result<Value> {
        writeln!(self.lines.get_mut(), "{}", json!({"execute": command, "arguments": arguments}))?;
        loop {
            let answer = self.read()?;
            ensure!(answer.get("error").is_none(), "expected {command} to work: {answer}");
            // Events come in between.
            if let Some(value) = answer.get("return") {
                return Ok(value.clone());
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        ensure!(self.lines.read_line(&mut line)? > 0, "expected QEMU to answer");
        Ok(serde_json::from_str(&line)?)
    }
}

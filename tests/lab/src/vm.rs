//! A whole machine instead of a container: its kernel enforces MemoryMax=, its clock can be set, its network loses packets, and
//! it can sleep. QEMU emulates it, for KVM is not everywhere. The far side is inside as well; no network of this host is touched.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::furnish::{christen, furnish};
use crate::host::{PREFIX, Parts};
use crate::inside;
use crate::shell::{output, run, start};

/// Where the machine has its far side. Nothing plays `inside` where this is missing.
pub const HOME: &str = "/opt/tunnelwarden-lab";
/// Where the machine leaves what explains a failure.
pub const EVIDENCE: &str = "/var/tmp/evidence";
/// The longest time without a scenario's result; the first one boots the machine.
const PATIENCE: Duration = Duration::from_secs(900);
const DISK: &str = "2G";

/// Plays the machine's scenarios whose name holds one of the filters. True if all went well.
pub fn play(parts: &Parts, keep: &Path, filters: &[String]) -> Result<bool> {
    let chosen = inside::chosen(filters);
    if parts.cloudflared.is_some() {
        println!("lab: the VM plays the stand-in, whose waits can be set");
    }
    let mut machine = Machine::boot(parts, filters)?;
    let (mut ended, mut failed, mut silent) = (0, Vec::new(), false);
    for scenario in &chosen {
        ended += 1;
        let began = Instant::now();
        match machine.hear(scenario.name) {
            Ok(true) => (),
            Ok(false) => failed.push(scenario.name),
            Err(error) => {
                let took = began.elapsed().as_secs();
                println!("lab: {:<20} FAILED  {took:>4} s: {error:#}", scenario.name);
                silent = true;
                break;
            }
        }
    }
    if silent || !failed.is_empty() {
        let kept = keep.join("vm");
        match machine.keep_evidence(&kept, &failed) {
            Ok(()) => println!("lab: {:<20} evidence in {}", "", kept.display()),
            Err(error) => println!("lab: {:<20} no evidence: {error:#}", ""),
        }
    }
    // Whoever was not heard of has not passed.
    let failures = failed.len() + usize::from(silent) + chosen.len() - ended;
    println!("lab: {} passed, {failures} failed", chosen.len() - failures);
    Ok(failures == 0 && !chosen.is_empty())
}

/// A running machine. Dropping it ends it.
struct Machine {
    dir: PathBuf,
    qemu: Child,
    /// Lines of its second serial port that have been read.
    read: usize,
}

impl Machine {
    fn boot(parts: &Parts, filters: &[String]) -> Result<Self> {
        let dir = parts.scratch.join(format!("{PREFIX}{}vm", std::process::id()));
        let disk = dir.join("disk");
        let made = make_disk(parts, filters, &dir, &disk);
        let _ = output("umount", &[&dir.join("root").to_string_lossy()]);
        let qemu = made.and_then(|()| {
            let file = |name: &str| format!("file:{}", dir.join(name).display());
            let drive = format!("file={},format=raw,if=virtio,cache=unsafe", disk.display());
            let [kernel, initrd] = ["vmlinuz-", "initrd.img-"].map(|start| boot_file(&parts.tree, start));
            let (kernel, initrd, console, results) = (kernel?, initrd?, file("console.log"), file("results"));
            let mut args = vec!["-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "1024"];
            args.extend(["-nodefaults", "-display", "none", "-no-reboot", "-nic", "none"]);
            args.extend(["-drive", &drive, "-kernel", &kernel, "-initrd", &initrd]);
            args.extend(["-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1"]);
            // The console is for people, the second port for the results alone.
            args.extend(["-serial", &console, "-serial", &results]);
            start("qemu-system-x86_64", &args, &dir.join("qemu.log"))
        });
        match qemu {
            Ok(qemu) => Ok(Self { dir, qemu, read: 0 }),
            Err(error) => {
                let _ = fs::remove_dir_all(&dir);
                Err(error)
            }
        }
    }

    /// Prints what the machine says, up to the result of this scenario; whether that is good.
    fn hear(&mut self, name: &str) -> Result<bool> {
        let until = Instant::now() + PATIENCE;
        loop {
            // First the end, then the lines: nothing is said after it.
            let ended = self.qemu.try_wait()?;
            let said = fs::read(self.dir.join("results")).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            let whole = said.rfind('\n').map_or("", |end| &said[..end]);
            for line in whole.lines().skip(self.read) {
                self.read += 1;
                println!("{}", line.trim_end());
                let mut words = line.split_whitespace();
                if words.next() == Some("lab:") && words.next() == Some(name) {
                    match words.next() {
                        Some("ok") => return Ok(true),
                        Some("FAILED") => return Ok(false),
                        _ => (),
                    }
                }
            }
            if let Some(status) = ended {
                let said = fs::read_to_string(self.dir.join("qemu.log")).unwrap_or_default();
                bail!("the machine ended before that ({status}) {}", said.trim());
            }
            ensure!(Instant::now() < until, "nothing heard from the machine");
            sleep(Duration::from_millis(200));
        }
    }

    /// Waits for the machine's own power-off, without which its disk is not whole, and copies what it left.
    fn keep_evidence(&mut self, keep: &Path, failed: &[&str]) -> Result<()> {
        fs::create_dir_all(keep)?;
        let until = Instant::now() + Duration::from_secs(60);
        while self.qemu.try_wait()?.is_none() && Instant::now() < until {
            sleep(Duration::from_millis(200));
        }
        for file in ["console.log", "results", "qemu.log"] {
            fs::copy(self.dir.join(file), keep.join(file)).with_context(|| format!("no {file}"))?;
        }
        for name in failed {
            let command = format!("rdump {EVIDENCE}/{name} {}", keep.display());
            run("debugfs", &["-R", &command, &self.dir.join("disk").to_string_lossy()])?;
        }
        Ok(())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The tree, furnished here because it takes minutes there, and a unit that plays the scenarios and then switches off.
fn make_disk(parts: &Parts, filters: &[String], dir: &Path, disk: &Path) -> Result<()> {
    let root = dir.join("root");
    for sub in ["root", "upper", "work"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    let options =
        format!("lowerdir={},upperdir={},workdir={}", parts.tree.display(), upper.display(), work.display());
    run("mount", &["-t", "overlay", "overlay", "-o", &options, &root.to_string_lossy()])?;
    christen(&root)?;
    let home = root.join(HOME.trim_start_matches('/'));
    fs::create_dir_all(&home)?;
    fs::copy(parts.bin.join("edge"), home.join("edge")).context("no edge")?;
    furnish(parts, &inside::wishes(), &home, &root)?;
    let units = root.join("etc/systemd/system");
    let unit = format!(
        "[Unit]\nDescription=The lab's scenarios\nSuccessAction=poweroff\nFailureAction=poweroff\n\n\
         [Service]\nType=exec\nExecStart=/usr/local/bin/lab inside {}\n\
         StandardOutput=file:/dev/ttyS1\nStandardError=inherit\n",
        filters.join(" ")
    );
    fs::write(units.join("lab.service"), unit)?;
    fs::create_dir_all(units.join("multi-user.target.wants"))?;
    std::os::unix::fs::symlink("../lab.service", units.join("multi-user.target.wants/lab.service"))?;
    let (root, disk) = (root.to_string_lossy(), disk.to_string_lossy());
    run("mke2fs", &["-q", "-t", "ext4", "-d", &root, &disk, DISK]).map(drop)
}

fn boot_file(tree: &Path, start: &str) -> Result<String> {
    let entries = fs::read_dir(tree.join("boot")).context("the tree has no kernel")?;
    let mut paths = entries.flatten().map(|entry| entry.path());
    let found =
        paths.find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(start)));
    let found = found.with_context(|| format!("no {start}* in the tree"))?;
    Ok(found.to_string_lossy().into_owned())
}

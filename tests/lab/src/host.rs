//! One lab: a throw-away Debian with a real systemd, and a far side (edge, DNS) in a network namespace of its own.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

mod container;
mod far_side;
mod sight;
mod wishes;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

pub use self::container::{Inside, forget};
use self::container::{Turn, boot};
pub(crate) use self::far_side::{PUBLIC, region};
pub use self::wishes::{CONFIG_RUN, NAMES, Parts, SECRET, TOKEN, TOKEN_RUN, TUNNEL, Wishes};
use crate::furnish::{christen, furnish, install_service};
use crate::record::{Onlooker, Story};
use crate::shell::{output, run};

/// A running lab. Dropping it ends everything it started.
pub struct Lab {
    pub name: String,
    pub dir: PathBuf,
    root: PathBuf,
    parts: Parts,
    /// The real cloudflared was given, and could not play this.
    pub standin_instead: bool,
    /// When its turn came.
    pub began: Instant,
    /// None where no container is needed: this machine is a VM that was made for the lab.
    nspawn: Option<Child>,
    pid1: String,
    edge: Option<Child>,
    dns: Option<Child>,
    /// What was done to it.
    pub story: Arc<Story>,
    onlooker: Option<Onlooker>,
}

static COUNT: AtomicU32 = AtomicU32::new(0);
pub const PREFIX: &str = "twlab";
/// How lines begin that do something to what is recorded.
const DEEDS: [&str; 7] = [
    "systemctl start",
    "systemctl stop",
    "systemctl restart",
    "systemctl kill",
    "systemctl reload",
    "kill ",
    "rm ",
];

impl Lab {
    /// Boots a lab and brings cloudflared (and tunnelwarden) up in it.
    pub fn start(parts: &Parts, wishes: &Wishes) -> Result<Self> {
        let _turn = Turn::wait();
        let began = Instant::now();
        let name = next_name();
        let dir = parts.scratch.join(&name);
        let root = dir.join("root");
        for sub in ["root", "upper", "work"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let options = format!(
            "lowerdir={},upperdir={},workdir={}",
            parts.tree.display(),
            dir.join("upper").display(),
            dir.join("work").display()
        );
        run("mount", &["-t", "overlay", "overlay", "-o", &options, &root.to_string_lossy()])?;
        christen(&root)?;
        furnish(parts, wishes, &dir, &root)?;
        let nspawn = Some(boot(&name, &dir, &root)?);
        let standin_instead = parts.cloudflared.is_some() && wishes.standin;
        let (parts, pid1) = (parts.clone(), String::new());
        let mut lab = Self {
            name,
            dir,
            root,
            parts,
            standin_instead,
            began,
            nspawn,
            pid1,
            edge: None,
            dns: None,
            story: Arc::default(),
            onlooker: None,
        };
        lab.pid1 = lab.wait_for_boot()?;
        lab.bring_up(wishes)?;
        Ok(lab)
    }

    /// Makes a lab of the machine we run on, which was furnished before it booted. Only the far side goes when it is dropped.
    pub fn start_here(parts: &Parts, wishes: &Wishes) -> Result<Self> {
        let (name, dir, root) = (next_name(), parts.scratch.clone(), parts.tree.clone());
        let (parts, pid1) = (parts.clone(), "1".to_owned());
        let mut lab = Self {
            name,
            dir,
            root,
            parts,
            standin_instead: false,
            began: Instant::now(),
            nspawn: None,
            pid1,
            edge: None,
            dns: None,
            story: Arc::default(),
            onlooker: None,
        };
        lab.bring_up(wishes)?;
        Ok(lab)
    }

    fn bring_up(&mut self, wishes: &Wishes) -> Result<()> {
        run("ip", &["netns", "add", &self.name])?;
        self.wire()?;
        self.start_far_side(wishes.names)?;
        self.sh("systemctl daemon-reload; systemctl enable -q --now origin.service")?;
        self.sh(&install_service(wishes.command))?;
        if self.parts.record {
            let name = wishes.names.first().copied().unwrap_or_default();
            self.write("/etc/tunnelwarden/conf.d/record.toml", "mode = \"observe\"\n")?;
            self.onlooker = Some(Onlooker::start(self.inside(), Arc::clone(&self.story), name));
        }
        // One that cannot come up is what some scenarios are about.
        self.sh("systemctl enable -q cloudflared.service; systemctl start --no-block cloudflared.service")?;
        if wishes.warden {
            self.install()?;
        }
        Ok(())
    }

    /// Ends every process at once, and boots again from the same disk. The far side stays as it is.
    pub fn power_cut(&mut self) -> Result<()> {
        let nspawn = self.nspawn.as_mut().context("only a container can lose its power")?;
        run("kill", &["-KILL", &self.pid1])?;
        nspawn.wait()?;
        self.nspawn = Some(boot(&self.name, &self.dir, &self.root)?);
        self.pid1 = self.wait_for_boot()?;
        self.wire()
    }

    /// PID of the lab's own PID 1, as this host counts.
    pub fn pid1(&self) -> &str {
        &self.pid1
    }

    /// Installs the package under test.
    pub fn install(&self) -> Result<()> {
        self.sh("dpkg -i /root/tunnelwarden.deb").map(drop)
    }

    /// Writes a file of the lab.
    pub fn write(&self, path: &str, text: &str) -> Result<()> {
        self.write_bytes(path, text.as_bytes())
    }

    /// Writes a file of the lab; what is under /run or another mount inside is reached, too.
    pub fn write_bytes(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let path = Path::new("/proc").join(&self.pid1).join("root").join(path.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Copies a program of this host into the lab.
    pub fn bring(&self, from: &Path, to: &str) -> Result<()> {
        let to = self.root.join(to.trim_start_matches('/'));
        fs::copy(from, &to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
    }

    /// Runs a shell line inside; its stdout.
    pub fn sh(&self, line: &str) -> Result<String> {
        if DEEDS.iter().any(|deed| line.starts_with(deed)) {
            self.story.tell(line);
        }
        let output = self.try_sh(line)?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        ensure!(
            output.status.success(),
            "`{line}` ended with {}: {} {}",
            output.status,
            err.trim(),
            out.trim()
        );
        Ok(out.into_owned())
    }

    /// Runs a shell line inside, whatever comes of it.
    pub fn try_sh(&self, line: &str) -> Result<std::process::Output> {
        self.inside().try_sh(line)
    }

    fn inside(&self) -> Inside {
        Inside { pid1: self.nspawn.as_ref().map(|_| self.pid1.clone()) }
    }

    /// Ends a recording, and writes it into a folder.
    ///
    /// # Errors
    /// Nothing was recorded, or it cannot be written.
    pub fn keep_recording(&mut self, scenario: &str, to: &Path) -> Result<()> {
        let onlooker = self.onlooker.take().context("nothing was recorded")?;
        onlooker.write(self, scenario, to)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for child in [self.edge.take(), self.dns.take()].into_iter().flatten() {
            end(child);
        }
        let here = self.nspawn.is_none();
        if let Some(nspawn) = self.nspawn.take() {
            if !self.pid1.is_empty() {
                let _ = output("kill", &["-KILL", &self.pid1]);
            }
            end(nspawn);
        }
        let _ = output("ip", &["netns", "del", &self.name]);
        if here {
            return;
        }
        for _ in 0..20 {
            if output("umount", &[&self.root.to_string_lossy()]).is_ok_and(|output| output.status.success()) {
                break;
            }
            sleep(Duration::from_millis(200));
        }
        let _ = fs::remove_dir_all(&self.dir);
        forget(&self.name);
    }
}

fn next_name() -> String {
    format!("{PREFIX}{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// A process group's leader and what it started: `ip netns exec` replaces itself, so this is the program.
fn end(mut child: Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// Looks until `done`, at most for `limit`; a look that fails is taken for one that came too early. What comes late is looked for
/// less often: each look costs the other labs' processor.
pub fn wait(what: &str, limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + limit;
    let mut pause = Duration::from_millis(100);
    loop {
        let seen = done();
        if matches!(seen, Ok(true)) {
            return Ok(());
        }
        if until <= Instant::now() {
            let late = format!("{what}: not within {} s", limit.as_secs());
            match seen {
                Ok(_) => bail!(late),
                Err(error) => return Err(error.context(late)),
            }
        }
        sleep(pause);
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

//! The container that a lab is: booted from its tree, entered, and cleared away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{available_parallelism, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::Lab;
use crate::shell::{output, start};

/// The way into a running lab.
#[derive(Clone)]
pub struct Inside {
    /// PID of its PID 1; `None` where this machine is the lab.
    pub(super) pid1: Option<String>,
}

impl Inside {
    /// Runs a shell line, whatever comes of it.
    pub fn try_sh(&self, line: &str) -> Result<std::process::Output> {
        let Some(pid1) = &self.pid1 else {
            let args: Vec<_> = ENV[1..].iter().chain(&["sh", "-c", line]).copied().collect();
            return output(ENV[0], &args);
        };
        let mut args = vec!["-a", "-t", pid1, "setpriv"];
        let bounding = format!("--bounding-set={KEPT}");
        let inherited = format!("--inh-caps={KEPT}");
        args.extend([bounding.as_str(), inherited.as_str()]);
        args.extend(ENV);
        args.extend(["sh", "-c", line]);
        output("nsenter", &args)
    }
}

const ENV: [&str; 5] = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"];
/// Kept from what runs inside: it could set the host's clock or load modules.
const KEPT: &str = "-sys_time,-sys_module,-sys_rawio,-sys_boot";

impl Lab {
    pub(super) fn wait_for_boot(&mut self) -> Result<String> {
        let until = Instant::now() + Duration::from_secs(60);
        while Instant::now() < until {
            sleep(Duration::from_millis(200));
            let nspawn = self.nspawn.as_mut().context("no container")?;
            let parent = nspawn.id();
            if let Some(status) = nspawn.try_wait()? {
                bail!(
                    "systemd-nspawn ended with {status}: {}",
                    fs::read_to_string(self.dir.join("console.log"))?
                );
            }
            let children =
                fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).unwrap_or_default();
            let Some(pid) = children.split_whitespace().next() else { continue };
            self.pid1 = pid.to_owned();
            let Ok(state) = self.try_sh("systemctl is-system-running") else { continue };
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            if state == "running" || state == "degraded" {
                return Ok(self.pid1.clone());
            }
        }
        bail!("the container did not come up in 60 s: {}", fs::read_to_string(self.dir.join("console.log"))?)
    }
}

static UNDER_WAY: Mutex<usize> = Mutex::new(0);
static ENDED: Condvar = Condvar::new();

/// One of the labs that may come up at this moment; it makes room for the next when it is dropped.
pub(super) struct Turn;

impl Turn {
    /// Waits for a turn. Coming up is half of what a lab costs the processor: more at a time than there are cores would only all be
    /// late, and disturb those that are being played.
    pub(super) fn wait() -> Self {
        let at_once = available_parallelism().map_or(1, usize::from);
        let under_way = UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |under_way: &mut usize| at_once <= *under_way;
        *ENDED.wait_while(under_way, full).unwrap_or_else(PoisonError::into_inner) += 1;
        Self
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *UNDER_WAY.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        ENDED.notify_one();
    }
}

/// Boots the tree. With `--keep-unit` containers share a control group unless each is given its own first.
pub(super) fn boot(name: &str, dir: &Path, root: &Path) -> Result<Child> {
    let mut script = String::from("set -e\n");
    for hierarchy in hierarchies() {
        let group = hierarchy.join(name);
        fs::create_dir_all(&group).with_context(|| format!("cannot make {}", group.display()))?;
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if hierarchy.join(file).exists() && group.join(file).exists() {
                let _ = fs::copy(hierarchy.join(file), group.join(file));
            }
        }
        script.push_str(&format!("echo $$ > {}/cgroup.procs || true\n", group.display()));
    }
    script.push_str(&format!(
        "exec setsid systemd-nspawn -q -D {} -M {name} --boot --register=no --keep-unit --console=pipe \
         --private-network --resolv-conf=off --timezone=off\n",
        root.display()
    ));
    start("sh", &["-c", &script], &dir.join("console.log"))
}

/// Ends its control groups, which hold no process any more.
pub fn forget(name: &str) {
    for hierarchy in hierarchies() {
        remove_groups(&hierarchy.join(name));
    }
}

fn hierarchies() -> Vec<PathBuf> {
    let base = Path::new("/sys/fs/cgroup");
    if base.join("cgroup.controllers").exists() {
        return vec![base.to_owned()];
    }
    let entries = fs::read_dir(base).map(|entries| entries.flatten().map(|entry| entry.path()).collect());
    let all: Vec<PathBuf> = entries.unwrap_or_default();
    all.into_iter().filter(|path| path.join("cgroup.procs").exists()).collect()
}

fn remove_groups(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_groups(&entry.path());
    }
    let _ = fs::remove_dir(group);
}

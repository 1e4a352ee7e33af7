//! One lab: a throw-away Debian with a real systemd, and a far side (edge, DNS) in a network namespace of its own.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::furnish::{PUBLIC_ZONE, christen, furnish, install_service, zone_file};
use crate::record::{Onlooker, Story};
use crate::shell::{output, run, start};

/// What every lab is made from.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Root tree of the Debian.
    pub tree: PathBuf,
    /// The package under test.
    pub deb: PathBuf,
    /// The same as an .rpm.
    pub rpm: Option<PathBuf>,
    /// Where our own programs (`cloudflared`, `edge`, `lab`) lie.
    pub bin: PathBuf,
    /// The real cloudflared, in place of the stand-in.
    pub cloudflared: Option<PathBuf>,
    /// Where labs are built.
    pub scratch: PathBuf,
    /// Somebody looks on, for a recording.
    pub record: bool,
}

/// Everything that differs between labs.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// `TUNNEL_TRANSPORT_PROTOCOL`.
    pub protocol: &'static str,
    /// More environment for cloudflared.
    pub env: Vec<(&'static str, String)>,
    /// Secret in the credentials file; the edge accepts only the right one.
    pub secret: &'static str,
    /// A last line for config.yml.
    pub config_tail: &'static str,
    /// Command line after `cloudflared --no-autoupdate`.
    pub command: &'static str,
    /// Only the stand-in can play its part.
    pub standin: bool,
    /// Install tunnelwarden.
    pub warden: bool,
    /// Drop-in for tunnelwarden.
    pub settings: &'static str,
    /// Give tunnelwarden a token for Cloudflare's API.
    pub api: bool,
    /// Public names of the tunnel.
    pub names: &'static [&'static str],
}

pub const TUNNEL: &str = "11111111-2222-4333-8444-555555555555";
pub const SECRET: &str = "c2VjcmV0LW9mLXRoZS1sYWItc2VjcmV0LW9mLWxhYg==";
/// As `cloudflared service install` writes it: account, secret and tunnel.
pub const TOKEN: &str = "eyJhIjoiMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJzIjoiYzJWamNtVjBMVzltTFhSb1pTMXNZV0l0YzJWamNtVjBMVzltTFd4aFlnPT0iLCJ0IjoiMTExMTExMTEtMjIyMi00MzMzLTg0NDQtNTU1NTU1NTU1NTU1In0=";
/// The command lines that cloudflared's own `service install` writes today.
pub const CONFIG_RUN: &str = "--config /etc/cloudflared/config.yml tunnel run";
pub const TOKEN_RUN: &str = "tunnel run --token-file /etc/cloudflared/token";
pub const NAMES: &[&str] = &["app.example.com", "api.example.com"];

impl Default for Wishes {
    fn default() -> Self {
        Self {
            protocol: "http2",
            env: Vec::new(),
            secret: SECRET,
            config_tail: "",
            command: CONFIG_RUN,
            standin: false,
            warden: true,
            settings: "",
            api: false,
            names: NAMES,
        }
    }
}

/// A running lab. Dropping it ends everything it started.
pub struct Lab {
    pub name: String,
    pub dir: PathBuf,
    root: PathBuf,
    parts: Parts,
    /// None where no container is needed: this machine is a VM that was made for the lab.
    nspawn: Option<Child>,
    pid1: String,
    edge: Option<Child>,
    dns: Option<Child>,
    /// What was done to it.
    pub story: Arc<Story>,
    onlooker: Option<Onlooker>,
}

/// The way into a running lab.
#[derive(Clone)]
pub struct Inside {
    /// PID of its PID 1; `None` where this machine is the lab.
    pid1: Option<String>,
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

static COUNT: AtomicU32 = AtomicU32::new(0);
pub const PREFIX: &str = "twlab";
const ENV: [&str; 5] = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"];
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
/// Kept from what runs inside: it could set the host's clock or load modules.
const KEPT: &str = "-sys_time,-sys_module,-sys_rawio,-sys_boot";

impl Lab {
    /// Boots a lab and brings cloudflared (and tunnelwarden) up in it.
    pub fn start(parts: &Parts, wishes: &Wishes) -> Result<Self> {
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
        let (parts, pid1) = (parts.clone(), String::new());
        let mut lab = Self {
            name,
            dir,
            root,
            parts,
            nspawn,
            pid1,
            edge: None,
            dns: None,
            story: Arc::default(),
            onlooker: None,
        };
        lab.pid1 = lab.wait_for_boot()?;
        lab.sh("update-ca-certificates")?;
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

    /// One command to the edge; its JSON.
    pub fn edge(&self, command: &str) -> Result<serde_json::Value> {
        if command != "status" {
            self.story.tell(&format!("edge {command}"));
        }
        let socket = self.dir.join("edge.sock");
        let program = self.parts.bin.join("edge");
        let mut args = vec!["ctl".to_owned(), "--control".into(), socket.to_string_lossy().into_owned()];
        args.extend(command.split(' ').map(str::to_owned));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let answer = run(&program.to_string_lossy(), &args)?;
        serde_json::from_str(answer.trim()).with_context(|| format!("edge {command}: {answer}"))
    }

    /// Runs a line of nft in the far side, where what comes from the lab can be dropped without its notice.
    pub fn far_nft(&self, line: &str) -> Result<()> {
        self.story.tell(&format!("nft {line}"));
        let tree = self.parts.tree.to_string_lossy();
        let mut args = vec!["netns", "exec", &self.name, "chroot", &tree, "nft"];
        args.extend(line.split(' '));
        run("ip", &args).map(drop)
    }

    /// Drops tcp or udp to port 7844 from now on.
    pub fn block(&self, protocol: &str) -> Result<()> {
        self.far_nft("add table inet lab")?;
        self.far_nft("add chain inet lab incoming { type filter hook input priority 0 ; }")?;
        self.far_nft(&format!("add rule inet lab incoming {protocol} dport 7844 drop"))
    }

    /// Drops tcp or udp of port 7844 both ways from now on.
    pub fn lose(&self, protocol: &str) -> Result<()> {
        self.block(protocol)?;
        self.far_nft("add chain inet lab outgoing { type filter hook output priority 0 ; }")?;
        self.far_nft(&format!("add rule inet lab outgoing {protocol} sport 7844 drop"))
    }

    /// Drops nothing any more.
    pub fn unblock(&self) -> Result<()> {
        self.far_nft("delete table inet lab")
    }

    /// From now on the DNS server knows these records of example.com and no others.
    pub fn records(&self, serial: u32, records: &str) -> Result<()> {
        zone_file(&self.dir.join("far"), PUBLIC_ZONE, serial, records)?;
        let server = self.dns.as_ref().context("no DNS server")?;
        // knotd took the place of the programs that started it; this makes it read its zones anew.
        run("kill", &["-HUP", &server.id().to_string()]).map(drop)
    }

    /// Takes the lab's link down or up; with it comes its route.
    pub fn link(&self, up: bool) -> Result<()> {
        self.story.tell(if up { "link up" } else { "link down" });
        self.sh(if up {
            "ip link set eth0 up; ip route replace default via 10.99.0.1"
        } else {
            "ip link set eth0 down"
        })
        .map(drop)
    }

    /// The unit's properties, as `systemctl show` writes them.
    pub fn show(&self, unit: &str, property: &str) -> Result<String> {
        Ok(self.sh(&format!("systemctl show -P {property} {unit}"))?.trim().to_owned())
    }

    /// `tunnelwarden status --json`, its only tunnel.
    pub fn status(&self) -> Result<serde_json::Value> {
        let output = self.try_sh("tunnelwarden status --json")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let status: serde_json::Value = serde_json::from_str(&text).with_context(|| {
            format!("status answered {text:?} {}", String::from_utf8_lossy(&output.stderr).trim())
        })?;
        Ok(status)
    }

    /// `tunnelwarden explain`.
    pub fn explain(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.try_sh("tunnelwarden explain")?.stdout).into_owned())
    }

    /// The value of the first metric line that begins with `series`.
    pub fn metric(&self, series: &str) -> Result<f64> {
        let text = self.sh("curl -sf http://127.0.0.1:9733/metrics")?;
        let line = text.lines().find(|line| line.starts_with(series) && !line.starts_with('#'));
        let line = line.with_context(|| format!("no metric {series}"))?;
        line.rsplit(' ').next().unwrap_or("").parse().with_context(|| format!("{line:?} has no value"))
    }

    /// tunnelwarden's own journal entries with this message id.
    pub fn events(&self, id: &str) -> Result<Vec<serde_json::Value>> {
        let text = self.sh(&format!("journalctl -q -o json -u tunnelwarden MESSAGE_ID={id} || true"))?;
        text.lines().map(|line| serde_json::from_str(line).context("an entry is no JSON")).collect()
    }

    /// A visitor's look at a name: status and body.
    pub fn visit(&self, name: &str) -> Result<(u16, String)> {
        let line = format!("curl -s -m 5 -o /tmp/visit -w '%{{http_code}}' https://{name}/; cat /tmp/visit");
        let text = self.sh(&line).unwrap_or_default();
        let (status, body) = text.split_at(text.len().min(3));
        Ok((status.parse().unwrap_or(0), body.to_owned()))
    }

    /// Writes what a person needs to understand a failure into `to`.
    pub fn keep_evidence(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        let pieces = [
            ("journal.txt", "journalctl --no-pager -o short-iso-precise"),
            (
                "status.txt",
                "tunnelwarden status; tunnelwarden explain; systemctl status cloudflared tunnelwarden",
            ),
            ("metrics.txt", "curl -s http://127.0.0.1:9733/metrics"),
            ("state.toml", "cat /var/lib/tunnelwarden/state.toml"),
        ];
        for (file, line) in pieces {
            if let Ok(output) = self.try_sh(line) {
                fs::write(to.join(file), output.stdout)?;
            }
        }
        for file in ["edge.log", "dns.log", "console.log", "edge-events.jsonl"] {
            if self.dir.join(file).exists() {
                fs::copy(self.dir.join(file), to.join(file))?;
            }
        }
        Ok(())
    }

    fn wait_for_boot(&mut self) -> Result<String> {
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

    /// A pair of cables between the lab and its far side. Every lab has the same addresses; none sees another.
    fn wire(&self) -> Result<()> {
        let (near, far) = (format!("{}n", self.name), format!("{}f", self.name));
        run("ip", &["link", "add", &near, "type", "veth", "peer", "name", &far])?;
        run("ip", &["link", "set", &far, "netns", &self.name])?;
        run("ip", &["link", "set", &near, "netns", &self.pid1])?;
        let far_ip = |args: &[&str]| {
            let all: Vec<_> = ["-n", &self.name].into_iter().chain(args.iter().copied()).collect();
            run("ip", &all).map(drop)
        };
        far_ip(&["link", "set", "lo", "up"])?;
        far_ip(&["link", "set", &far, "up"])?;
        far_ip(&["addr", "add", "10.99.0.1/24", "dev", &far])?;
        for address in ADDRESSES {
            let _ = far_ip(&["addr", "del", &format!("{address}/32"), "dev", "lo"]);
            far_ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"])?;
        }
        self.sh(&format!(
            "ip link set lo up; ip link set {near} name eth0; ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up; \
             ip route add default via 10.99.0.1"
        ))
        .map(drop)
    }

    fn start_far_side(&mut self, names: &[&str]) -> Result<()> {
        let far = self.dir.join("far");
        let dns_conf = far.join("knot.conf");
        // knotd out of the tree; its folder is beside the lab's, and bound into the tree's view for it alone.
        let line = format!(
            "mount --bind {} {}/mnt && exec chroot {} knotd -c /mnt/knot.conf",
            far.display(),
            self.parts.tree.display(),
            self.parts.tree.display()
        );
        ensure!(dns_conf.exists(), "no DNS configuration");
        let args = ["netns", "exec", &self.name, "unshare", "-m", "sh", "-c", &line];
        self.dns = Some(start("ip", &args, &self.dir.join("dns.log"))?);
        let program = self.parts.bin.join("edge").to_string_lossy().into_owned();
        let (pki, socket) = (self.dir.join("pki"), self.dir.join("edge.sock"));
        let events = self.dir.join("edge-events.jsonl");
        let texts = [pki, socket.clone(), events].map(|path| path.to_string_lossy().into_owned());
        let mut args = vec!["netns", "exec", &self.name, &program, "run", "--pki", &texts[0]];
        args.extend([
            "--control",
            &texts[1],
            "--events",
            &texts[2],
            "--tunnel-id",
            TUNNEL,
            "--tunnel-secret",
            SECRET,
        ]);
        args.extend(["--public", "10.99.3.1:443"]);
        for name in names {
            args.extend(["--host", name]);
        }
        let tunnels: Vec<_> = ADDRESSES[..4].iter().map(|address| format!("{address}:7844")).collect();
        for tunnel in &tunnels {
            args.extend(["--tunnel", tunnel]);
        }
        self.edge = Some(start("ip", &args, &self.dir.join("edge.log"))?);
        wait("the edge", Duration::from_secs(20), || Ok(socket.exists()))?;
        let ask = "getent hosts region1.v2.argotunnel.com";
        wait("the DNS server", Duration::from_secs(20), || Ok(self.try_sh(ask)?.status.success()))
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
        for hierarchy in hierarchies() {
            remove_groups(&hierarchy.join(&self.name));
        }
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

fn remove_groups(group: &Path) {
    let Ok(entries) = fs::read_dir(group) else { return };
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        remove_groups(&entry.path());
    }
    let _ = fs::remove_dir(group);
}

/// Four addresses of two regions, then the visitors' side.
const ADDRESSES: [&str; 5] = ["10.99.1.1", "10.99.1.2", "10.99.2.1", "10.99.2.2", "10.99.3.1"];

/// Looks until `done`, at most for `limit`.
pub fn wait(what: &str, limit: Duration, mut done: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + limit;
    loop {
        if done()? {
            return Ok(());
        }
        if until <= Instant::now() {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        sleep(Duration::from_millis(250));
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

/// Boots the tree. With `--keep-unit` containers share a control group unless each is given its own first.
fn boot(name: &str, dir: &Path, root: &Path) -> Result<Child> {
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

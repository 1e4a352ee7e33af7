//! The far side of a lab: edge and DNS server in a network namespace of their own, and the cable to it.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::{Lab, SECRET, TUNNEL, wait};
use crate::furnish::{PUBLIC_ZONE, zone_file};
use crate::shell::{run, start};

/// Where the visitors' side is.
pub(crate) const PUBLIC: &str = "10.99.3.1";
/// More than a connector holds, as it has to find a free one for every dial after one that failed.
const OF_A_REGION: u8 = 4;

/// The edge's addresses of a region, 1 or 2.
pub(crate) fn region(number: u8) -> impl Iterator<Item = String> {
    (1..=OF_A_REGION).map(move |host| format!("10.99.{number}.{host}"))
}

impl Lab {
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

    /// Drops tcp or udp of port 7844 both ways from now on, in a moment when nothing is under way on TCP: its keepalive does not
    /// begin before that has arrived, and to give that up takes it a quarter of an hour. So what makes a connector answer, the
    /// edge's pings, ends first.
    pub fn lose(&self, protocol: &str) -> Result<()> {
        self.far_nft("add table inet lab")?;
        self.far_nft("add chain inet lab outgoing { type filter hook output priority 0 ; }")?;
        self.far_nft("add rule inet lab outgoing tcp sport 7844 tcp flags & psh == psh drop")?;
        sleep(Duration::from_secs(1));
        self.block(protocol)?;
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

    /// A pair of cables between the lab and its far side. Every lab has the same addresses; none sees another.
    pub(super) fn wire(&self) -> Result<()> {
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
        for address in region(1).chain(region(2)).chain([PUBLIC.to_owned()]) {
            let _ = far_ip(&["addr", "del", &format!("{address}/32"), "dev", "lo"]);
            far_ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"])?;
        }
        self.sh(&format!(
            "ip link set lo up; ip link set {near} name eth0; ip addr add 10.99.0.2/24 dev eth0; ip link set eth0 up; \
             ip route add default via 10.99.0.1"
        ))
        .map(drop)
    }

    pub(super) fn start_far_side(&mut self, names: &[&str]) -> Result<()> {
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
        let public = format!("{PUBLIC}:443");
        args.extend(["--public", &public]);
        for name in names {
            args.extend(["--host", name]);
        }
        let tunnels: Vec<_> = region(1).chain(region(2)).map(|address| format!("{address}:7844")).collect();
        for tunnel in &tunnels {
            args.extend(["--tunnel", tunnel]);
        }
        self.edge = Some(start("ip", &args, &self.dir.join("edge.log"))?);
        wait("the edge", Duration::from_secs(20), || Ok(socket.exists()))?;
        let ask = "getent hosts region1.v2.argotunnel.com";
        wait("the DNS server", Duration::from_secs(20), || Ok(self.try_sh(ask)?.status.success()))
    }
}

//! The lab's runner: `lab run [--jobs N] [FILTER…]`, `lab record NAME --to FOLDER`, `lab vm`, `lab list`, `lab try [--once]`, `lab clean`, and `lab origin ADDRESS`,
//! the service behind the tunnel.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser, Subcommand};
use tunnelwarden_lab::bench::{self, Readers};
use tunnelwarden_lab::host::{PREFIX, Parts, forget};
use tunnelwarden_lab::scenarios::{ALL, Scenario, Stage};
use tunnelwarden_lab::shell::{output, run};
use tunnelwarden_lab::{compare, inside, timeline, vm};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Play the scenarios whose name holds one of the FILTERS.
    Run {
        #[command(flatten)]
        given: Given,
        #[arg(long, default_value_t = 12)]
        jobs: usize,
        /// Where evidence of failures is kept.
        #[arg(long, default_value = "target/lab-failures")]
        keep: PathBuf,
        /// Also those that take more than three minutes.
        #[arg(long)]
        long: bool,
        filters: Vec<String>,
    },
    /// Play one scenario, and keep it as a folder that the judge's test reads.
    Record {
        #[command(flatten)]
        given: Given,
        /// The scenario's whole name.
        scenario: String,
        /// The folder to write.
        #[arg(long)]
        to: PathBuf,
    },
    /// Print two recordings of one scenario side by side.
    Compare {
        /// The stand-in's.
        #[arg(long)]
        standin: PathBuf,
        /// The real one's.
        #[arg(long)]
        real: PathBuf,
    },
    /// Play in a VM what a container cannot; the tree has a kernel.
    Vm {
        #[command(flatten)]
        given: Given,
        /// Where evidence of failures is kept.
        #[arg(long, default_value = "target/lab-failures")]
        keep: PathBuf,
        filters: Vec<String>,
    },
    /// The VM's own part of that.
    Inside { filters: Vec<String> },
    /// Name the scenarios.
    List,
    /// Play one outage and tell it as a timeline.
    Try {
        #[command(flatten)]
        given: Given,
        /// End by itself; exit 0 only if the outage was cured.
        #[arg(long)]
        once: bool,
    },
    /// Print numbers beside those of others; FILTER is one of outages, idle, journal.
    Bench {
        #[command(flatten)]
        given: Given,
        /// Journal reader in C.
        #[arg(long)]
        reader_c: PathBuf,
        /// Our journal reader.
        #[arg(long)]
        reader_own: PathBuf,
        filter: Option<String>,
    },
    /// Remove what a killed run left behind.
    Clean {
        #[arg(long, default_value = "/var/tmp/tunnelwarden-lab")]
        scratch: PathBuf,
    },
    /// Answer every request with 200, or with the bytes of /run/origin-answer while that exists; a WebSocket with what it says.
    Origin { address: String },
    /// Print cloudflared's line of a failed request LINES times, PER_SECOND of them a second (0 = without pause).
    Flood { lines: u64, per_second: u64 },
}

#[derive(Args)]
struct Given {
    /// The package under test.
    #[arg(long)]
    deb: PathBuf,
    /// The same as an .rpm.
    #[arg(long)]
    rpm: Option<PathBuf>,
    /// Root tree of the Debian to boot.
    #[arg(long)]
    tree: PathBuf,
    /// The real cloudflared, to be played with in place of the stand-in.
    #[arg(long)]
    cloudflared: Option<PathBuf>,
    #[arg(long, default_value = "/var/tmp/tunnelwarden-lab")]
    scratch: PathBuf,
}

impl Given {
    fn parts(self) -> Result<Parts> {
        let bin = std::env::current_exe()?.parent().context("no folder of programs")?.to_owned();
        let real =
            |path: &Path| path.canonicalize().with_context(|| format!("{} is not there", path.display()));
        std::fs::create_dir_all(&self.scratch)?;
        let rpm = self.rpm.as_deref().map(real).transpose()?;
        let cloudflared = self.cloudflared.as_deref().map(real).transpose()?;
        if let Some(cloudflared) = &cloudflared {
            println!("lab: with the real cloudflared, {}", version_of(cloudflared)?);
        }
        let (tree, deb, scratch) = (real(&self.tree)?, real(&self.deb)?, real(&self.scratch)?);
        Ok(Parts { tree, deb, rpm, bin, cloudflared, scratch, record: false })
    }
}

/// What a cloudflared calls itself; the stand-in is turned away.
fn version_of(cloudflared: &Path) -> Result<String> {
    let named = cloudflared.display();
    let said = run(&cloudflared.to_string_lossy(), &["--version"])
        .with_context(|| format!("{named} is no cloudflared that runs here"))?;
    let version = said.trim().strip_prefix("cloudflared version ");
    let version = version.with_context(|| format!("{named} is no cloudflared: --version says {said:?}"))?;
    ensure!(!version.contains("(built lab)"), "{named} is the lab's own stand-in");
    Ok(version.to_owned())
}

fn main() -> ExitCode {
    let result = match Cli::parse().verb {
        Verb::Run { given, jobs, keep, long, filters } => {
            given.parts().map(|parts| play_all(&parts, jobs, &keep, long, &filters))
        }
        Verb::Record { given, scenario, to } => {
            given.parts().and_then(|parts| record(Parts { record: true, ..parts }, &scenario, &to))
        }
        Verb::Compare { standin, real } => compare::tell(&standin, &real).map(|text| {
            print!("{text}");
            true
        }),
        Verb::Vm { given, keep, filters } => {
            given.parts().and_then(|parts| vm::play(&parts, &keep, &filters))
        }
        Verb::Inside { filters } => play_inside(&filters),
        Verb::List => {
            ALL.iter().for_each(|scenario| println!("{}", scenario.name));
            Ok(true)
        }
        Verb::Try { given, once } => given.parts().and_then(|parts| timeline::play(&parts, once)),
        Verb::Bench { given, reader_c: c, reader_own: own, filter } => given.parts().and_then(|parts| {
            bench::measure(&parts, &Readers { c, own }, filter.as_deref().unwrap_or("")).map(|()| true)
        }),
        Verb::Flood { lines, per_second } => flood(lines, per_second).map(|()| true),
        Verb::Clean { scratch } => clean(&scratch).map(|()| true),
        Verb::Origin { address } => origin(&address).map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("lab: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn play_all(parts: &Parts, jobs: usize, keep: &Path, long: bool, filters: &[String]) -> bool {
    let meant = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let named: Vec<&Scenario> = ALL.iter().filter(|scenario| meant(scenario.name)).collect();
    // Whoever names a long one wants it.
    let (mut chosen, left_out): (Vec<_>, Vec<_>) = named
        .into_iter()
        .partition(|scenario| long || !scenario.long || filters.iter().any(|filter| filter == scenario.name));
    chosen.sort_by_key(|scenario| !scenario.long);
    let next = AtomicUsize::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.clamp(1, chosen.len().max(1)) {
            scope.spawn(|| {
                while let Some(scenario) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if !play(parts, scenario, keep)
                        && let Ok(mut failed) = failed.lock()
                    {
                        failed.push(scenario.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_default();
    for scenario in left_out {
        println!("lab: {:<20} left out, it is long (--long)", scenario.name);
    }
    println!("lab: {} passed, {} failed", chosen.len() - failed.len(), failed.len());
    failed.is_empty() && !chosen.is_empty()
}

fn play(parts: &Parts, scenario: &Scenario, keep: &Path) -> bool {
    let stage = Stage { parts, lab: None.into() };
    let passed = tell(&stage, scenario);
    if !passed {
        let kept = keep.join(scenario.name);
        match stage.lab.borrow().as_ref().map(|lab| lab.keep_evidence(&kept)) {
            Some(Ok(())) => println!("lab: {:<20} evidence in {}", "", kept.display()),
            Some(Err(error)) => println!("lab: {:<20} no evidence: {error:#}", ""),
            None => (),
        }
    }
    passed
}

/// It is kept however it ended: nobody mends what is recorded.
fn record(parts: Parts, scenario: &str, to: &Path) -> Result<bool> {
    let known = ALL.iter().find(|known| known.name == scenario);
    let scenario = known.with_context(|| format!("no scenario {scenario}; `lab list` names them"))?;
    ensure!(!to.exists(), "{} is there already", to.display());
    let stage = Stage { parts: &parts, lab: None.into() };
    let ended = (scenario.play)(&stage);
    let mut lab = stage.lab.borrow_mut();
    lab.as_mut().context("the scenario booted no lab")?.keep_recording(scenario.name, to)?;
    println!("lab: recorded in {}; tunnelwarden only watched", to.display());
    if let Err(error) = ended {
        println!("lab: so {} ended with: {error:#}", scenario.name);
    }
    Ok(true)
}

/// Plays it, and says how it went.
fn tell(stage: &Stage<'_>, scenario: &Scenario) -> bool {
    let began = Instant::now();
    let result = (scenario.play)(stage);
    // Not what it waited for its turn.
    let took = stage.lab.borrow().as_ref().map_or(began, |lab| lab.began.max(began)).elapsed().as_secs();
    let instead = stage.lab.borrow().as_ref().is_some_and(|lab| lab.standin_instead);
    let by = if instead { ", by the stand-in: the real one cannot play it" } else { "" };
    match result {
        Ok(()) => println!("lab: {:<20} ok      {took:>4} s{by}", scenario.name),
        Err(ref error) => println!("lab: {:<20} FAILED  {took:>4} s: {error:#}", scenario.name),
    }
    result.is_ok()
}

/// One lab for all. The host counts, and takes the evidence from the disk.
fn play_inside(filters: &[String]) -> Result<bool> {
    let parts = inside::parts()?;
    let stage = Stage { parts: &parts, lab: None.into() };
    for scenario in inside::chosen(filters) {
        if !tell(&stage, scenario)
            && let Some(lab) = stage.lab.borrow().as_ref()
        {
            lab.keep_evidence(&Path::new(vm::EVIDENCE).join(scenario.name))?;
        }
    }
    Ok(true)
}

fn clean(scratch: &Path) -> Result<()> {
    let netns = run("ip", &["netns", "list"]).unwrap_or_default();
    let mut names: BTreeSet<String> =
        netns.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect();
    let folders = std::fs::read_dir(scratch).into_iter().flatten().flatten();
    names.extend(folders.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    names.retain(|name| abandoned(name));
    // Whoever played them was killed, and what it had started goes on.
    for pid in started_for(&names) {
        let _ = output("kill", &["-KILL", &pid]);
    }
    for name in &names {
        let _ = output("ip", &["netns", "del", name]);
        let folder = scratch.join(name);
        let _ = output("umount", &["-l", &folder.join("root").to_string_lossy()]);
        let _ = std::fs::remove_dir_all(folder);
        forget(name);
    }
    Ok(())
}

/// What runs on the far sides of these labs, and their containers, which take all in them along.
fn started_for(names: &BTreeSet<String>) -> Vec<String> {
    let far = names.iter().filter_map(|name| run("ip", &["netns", "pids", name]).ok());
    let mut pids: Vec<_> = far.flat_map(|pids| pids.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split('\0');
        let is_container = words.next().is_some_and(|program| program.ends_with("systemd-nspawn"));
        if is_container && words.any(|word| names.contains(word)) {
            pids.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    pids
}

/// The name of a lab whose process is gone; labs of others that are being played stay.
fn abandoned(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let pid: String = rest.chars().take_while(char::is_ascii_digit).collect();
    !Path::new("/proc").join(pid).join("stat").exists()
}

/// One thread is enough for a service that only says hello.
fn origin(address: &str) -> Result<()> {
    let listener = TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))?;
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
        let mut head = [0; 4096];
        let length = stream.read(&mut head).unwrap_or(0);
        let head = String::from_utf8_lossy(&head[..length]).to_ascii_lowercase();
        if head.contains("\r\nupgrade: websocket\r\n") {
            std::thread::spawn(move || echo(stream));
            continue;
        }
        if let Ok(whole) = std::fs::read("/run/origin-answer") {
            let _ = stream.write_all(&whole);
            continue;
        }
        let body = "hello from the origin\n";
        let _ = write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    }
    Ok(())
}

/// Agrees to a WebSocket, and sends back what it brings, until it is closed.
fn echo(mut stream: TcpStream) -> Result<()> {
    stream.set_read_timeout(None)?;
    stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: lab\r\n\r\n",
    )?;
    std::io::copy(&mut stream.try_clone()?, &mut stream)?;
    Ok(())
}

fn flood(lines: u64, per_second: u64) -> Result<()> {
    let began = Instant::now();
    let mut out = std::io::stdout().lock();
    for number in 0..lines {
        if per_second != 0 && number % 100 == 0 {
            let due = Duration::from_secs_f64(number as f64 / per_second as f64);
            std::thread::sleep(due.saturating_sub(began.elapsed()));
        }
        writeln!(
            out,
            "2026-08-20T10:00:00Z ERR  error=\"Unable to reach the origin service. The service may be down or it may not be \
             responding to traffic from cloudflared: dial tcp 127.0.0.1:8080: connect: connection refused\" connIndex=1 \
             event=1 ingressRule=0 originService=http://127.0.0.1:8080 request={number}"
        )?;
    }
    out.flush().map_err(Into::into)
}

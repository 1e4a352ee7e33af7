//! A scenario, kept as a folder in the form of `tests/recordings`: the journal of the unit, what an observer on the host saw, what
//! was done, and what was concluded. tunnelwarden only watches meanwhile: an outage that it mends at once is no case for a judge.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;

use crate::host::{Inside, Lab};
use crate::scenarios::HELD;

/// A row at least this often.
const ROW_EVERY: Duration = Duration::from_secs(5);
/// Causes that did not last this long are not demanded of a judge that looks at other moments.
const LASTING: Duration = Duration::from_secs(5);
const COLUMNS: &str =
    "seconds\ttime\tpublic\tready\tunit\tdial_tcp\tdial_quic\tdns\tcontrol\tregister_fail\ttotal_requests";

/// One look at everything, printed as lines of `NAME VALUE`. `$1` is a public name.
const LOOK: &str = r#"
show() { systemctl show -P "$1" cloudflared.service; }
pid=$(show MainPID)
echo "unit $(show ActiveState)/$(show SubState) $(show Result) $(show NRestarts) $pid $(show ExecMainStatus)"
port=$(ss -ltnpH | grep "pid=$pid," | grep -o '127.0.0.1:[0-9]*' | head -n 1)
said=$(curl -s -m 2 -w '\n%{http_code}' "http://${port:-127.0.0.1:1}/ready"); code=$?
echo "ready $code $(echo "$said" | tail -n 1) $(echo "$said" | grep -o 'readyConnections":[0-9]*' | grep -o '[0-9]*$')"
said=$(curl -s -m 4 -w '\n%{http_code}' "https://$1/"); code=$?
echo "public $code $(echo "$said" | tail -n 1) $(echo "$said" | grep -oE '(error code:|Error) *1[0-9]{3}' | grep -o '[0-9]*$' | head -n 1)"
curl -s -m 2 "http://${port:-127.0.0.1:1}/metrics" | awk '
    /^cloudflared_tunnel_tunnel_register_fail/ { fail += $2 }
    /^cloudflared_tunnel_total_requests/ { total = $2 }
    END { print "counters " fail + 0 " " total + 0 }'
echo "cause $(tunnelwarden status --json 2>/dev/null | grep -o '"cause": *"[A-Za-z]*"' | head -n 1 | cut -d'"' -f4)"
"#;

/// What was done to a lab, and what that makes of its network.
#[derive(Default)]
pub struct Story {
    told: Mutex<(Vec<(Timestamp, String)>, Network)>,
}

/// What a dial of the host's own would find.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Network {
    refusing: bool,
    mute: bool,
    no_tcp: bool,
    no_udp: bool,
    no_link: bool,
}

impl Story {
    /// Something was done.
    pub fn tell(&self, what: &str) {
        let mut told = lock(&self.told);
        told.1.after(what);
        told.0.push((Timestamp::now(), what.to_owned()));
    }

    /// When something was done last before this moment.
    fn last_before(&self, moment: Timestamp) -> Option<Timestamp> {
        lock(&self.told).0.iter().map(|(at, _)| *at).filter(|at| *at < moment).max()
    }
}

impl Network {
    fn after(&mut self, what: &str) {
        match what {
            "edge refuse" => self.refusing = true,
            "edge accept" | "edge unmute" => (self.refusing, self.mute) = (false, false),
            "edge mute" => self.mute = true,
            "edge udp off" => self.no_udp = true,
            "edge udp on" => self.no_udp = false,
            "link down" => self.no_link = true,
            "link up" => self.no_link = false,
            "nft delete table inet lab" => (self.no_tcp, self.no_udp) = (false, false),
            rule if rule.contains("tcp dport 7844 drop") => self.no_tcp = true,
            rule if rule.contains("udp dport 7844 drop") => self.no_udp = true,
            _ => {}
        }
    }

    /// The four columns.
    fn columns(self) -> String {
        let name =
            |bad: &[(bool, &'static str)]| bad.iter().find(|(is, _)| *is).map_or("ok", |(_, name)| name);
        let lost = (self.no_link, "unreachable");
        let tcp = name(&[lost, (self.refusing, "refused"), (self.mute || self.no_tcp, "timeout")]);
        let quic = name(&[lost, (self.refusing || self.mute || self.no_udp, "timeout")]);
        format!("{tcp}\t{quic}\t{0}\t{0}", name(&[lost]))
    }
}

/// Looks at a lab once a second until it is told to stop.
pub struct Onlooker {
    began: Timestamp,
    stop: Arc<AtomicBool>,
    looking: Option<JoinHandle<Seen>>,
}

/// What it saw.
#[derive(Default)]
struct Seen {
    rows: String,
    causes: Vec<(Timestamp, String)>,
}

impl Onlooker {
    /// Begins to look; `name` is a public name of the tunnel.
    pub fn start(inside: Inside, story: Arc<Story>, name: &str) -> Self {
        let (began, stop) = (Timestamp::now(), Arc::new(AtomicBool::new(false)));
        let (told, name) = (Arc::clone(&stop), name.to_owned());
        let looking = std::thread::spawn(move || look(&inside, &story, &name, began, &told));
        Self { began, stop, looking: Some(looking) }
    }

    /// Ends the recording, and writes it into a folder.
    ///
    /// # Errors
    /// The folder cannot be written, or the lab not asked.
    pub fn write(mut self, lab: &Lab, scenario: &str, to: &Path) -> Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        let seen = self.looking.take().context("written already")?.join();
        let seen = seen.map_err(|_| anyhow::anyhow!("the onlooker fell over"))?;
        fs::create_dir_all(to).with_context(|| format!("cannot make {}", to.display()))?;
        let put = |file: &str, bytes: &[u8]| {
            fs::write(to.join(file), bytes)
                .with_context(|| format!("cannot write {file} in {}", to.display()))
        };
        let journal = lab
            .try_sh("journalctl -q -o export _SYSTEMD_UNIT=cloudflared.service + UNIT=cloudflared.service")?;
        put("journal.export", &journal.stdout)?;
        put("observed.tsv", format!("{COLUMNS}\n{}", seen.rows).as_bytes())?;
        put("story.txt", self.story(&lab.story, scenario).as_bytes())?;
        put("truth.toml", self.truth(lab, &seen)?.as_bytes())
    }

    fn seconds(&self, at: Timestamp) -> f64 {
        at.duration_since(self.began).as_secs_f64()
    }

    fn story(&self, story: &Story, scenario: &str) -> String {
        let mut text = format!("{:8.3}  scenario {scenario} begins\n", 0.0);
        for (at, what) in &lock(&story.told).0 {
            let _ = writeln!(text, "{:8.3}  {what}", self.seconds(*at));
        }
        let _ = writeln!(text, "{:8.3}  scenario {scenario} ends", self.seconds(Timestamp::now()));
        text
    }

    /// What tunnelwarden concluded and would have done.
    fn truth(&self, lab: &Lab, seen: &Seen) -> Result<String> {
        let held = lab.events(HELD).unwrap_or_default();
        let wanted = held.iter().find(|event| event["TUNNELWARDEN_HOLD"] == "ObserveOnly");
        let wanted = wanted.and_then(|event| event["__REALTIME_TIMESTAMP"].as_str()?.parse().ok());
        let wanted = wanted.map(Timestamp::from_microsecond).transpose()?;
        let mut causes: Vec<String> = Vec::new();
        for (number, (at, cause)) in seen.causes.iter().enumerate() {
            let next = seen.causes.get(number + 1).map(|(next, _)| *next);
            let lasted =
                next.is_none_or(|next| LASTING.as_secs_f64() <= next.duration_since(*at).as_secs_f64());
            let entry = format!("[{cause:?}]");
            if lasted && causes.last() != Some(&entry) {
                causes.push(entry);
            }
        }
        let mut text = format!(
            "# What tunnelwarden concluded while this was recorded. Look whether it was right before you trust it.\n\
             causes = [{}]\nacts_min = 0\nacts_max = {}\n",
            causes.join(", "),
            u8::from(wanted.is_some())
        );
        if let Some(wanted) = wanted {
            let moved = lab.story.last_before(wanted).map_or(0.0, |at| self.seconds(at).max(0.0));
            let _ = writeln!(
                text,
                "acts_not_before_s = {moved:.1}  # the last thing done before it wanted to act"
            );
        }
        let protocol =
            lab.sh("systemctl show -P Environment cloudflared | grep -o 'PROTOCOL=[a-z0-9]*' || true")?;
        let protocol = protocol.trim().strip_prefix("PROTOCOL=").unwrap_or("auto");
        let _ = writeln!(text, "protocol = {protocol:?}\nlog_format = \"text\"");
        Ok(text)
    }
}

impl Drop for Onlooker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn look(inside: &Inside, story: &Story, name: &str, began: Timestamp, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let (mut before, mut written) = (String::new(), None::<Instant>);
    let script = format!("set -- {name}\n{LOOK}");
    while !stop.load(Ordering::Relaxed) {
        let (at, begin) = (Timestamp::now(), Instant::now());
        if let Ok(output) = inside.try_sh(&script) {
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            let value = |key: &str| {
                let found = said.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
                found.unwrap_or_default().trim().to_owned()
            };
            let network = lock(&story.told).1.columns();
            let (public, ready) =
                (answer(&value("public"), "unreachable"), answer(&value("ready"), "refused"));
            let row = format!("{public}\t{ready}\t{}\t{network}", value("unit"));
            let cause = value("cause");
            if !cause.is_empty() && seen.causes.last().is_none_or(|(_, last)| *last != cause) {
                seen.causes.push((at, cause));
            }
            if row != before || written.is_none_or(|written| ROW_EVERY <= written.elapsed()) {
                let counters = value("counters").replace(' ', "\t");
                let seconds = at.duration_since(began).as_secs_f64();
                let time = at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ");
                let _ = writeln!(seen.rows, "{seconds:.3}\t{time}\t{row}\t{counters}");
                (before, written) = (row, Some(Instant::now()));
            }
        }
        sleep(Duration::from_secs(1).saturating_sub(begin.elapsed()));
    }
    seen
}

/// curl's exit code, the status and one more number, as the columns name them.
fn answer(said: &str, no_connection: &str) -> String {
    let mut words = said.split(' ');
    let (exit, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    match (exit, words.next().filter(|more| !more.is_empty())) {
        ("0", Some(more)) => format!("{status}/{more}"),
        ("0", None) => status.to_owned(),
        ("28", _) => "timeout".to_owned(),
        ("35" | "52" | "56" | "92", _) => "reset".to_owned(),
        (_, _) => no_connection.to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_tells_what_a_dial_finds() {
        let story = Story::default();
        let columns = |story: &Story| lock(&story.told).1.columns();
        assert_eq!(columns(&story), "ok\tok\tok\tok");
        for (what, columns_then) in [
            ("edge blackhole", "ok\tok\tok\tok"),
            ("edge refuse", "refused\ttimeout\tok\tok"),
            ("edge accept", "ok\tok\tok\tok"),
            ("nft add rule inet lab incoming udp dport 7844 drop", "ok\ttimeout\tok\tok"),
            ("nft delete table inet lab", "ok\tok\tok\tok"),
            ("edge mute", "timeout\ttimeout\tok\tok"),
            ("link down", "unreachable\tunreachable\tunreachable\tunreachable"),
        ] {
            story.tell(what);
            assert_eq!(columns(&story), columns_then, "{what}");
        }
    }

    #[test]
    fn answers_as_the_columns_name_them() {
        assert_eq!(answer("0 530 1033", "unreachable"), "530/1033");
        assert_eq!(answer("0 200 ", "unreachable"), "200");
        assert_eq!(answer("0 200 4", "refused"), "200/4");
        assert_eq!(answer("28 000 ", "refused"), "timeout");
        assert_eq!(answer("7 000 ", "refused"), "refused");
        assert_eq!(answer("", "unreachable"), "unreachable");
    }
}

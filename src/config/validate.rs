//! What was written → what is true, or everything that is wrong with it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::duration::{Span, written};
use super::error::{ConfigError, Place};
use super::file::ERRORS_TOLD;
use super::names::{self, WrongForm};
use super::redact;
use super::settings::{
    AccountId, Api, Credential, Dns, Edge, Http, HttpsUrl, Judge, Mode, ObserverUrl, Probe, Ready, Region,
    Remedy, Resolve, Settings,
};
use super::tunnels;
use super::written::{
    Origins, Written, WrittenDns, WrittenEdge, WrittenJudge, WrittenProbe, WrittenRemedy, WrittenWindow,
};
use crate::client::calendar;

/// Faster than that is no observation but a burden.
const SHORTEST_PERIOD: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

/// Collects what is wrong, so that all of it is told at once.
pub(super) struct Check<'a> {
    pub origins: &'a Origins,
    pub errors: Vec<ConfigError>,
    pub warnings: Vec<String>,
}

/// Settings if nothing was refused; what is wrong is in `check`.
pub(super) fn settings(written: Written, check: &mut Check<'_>) -> Option<Settings> {
    let probe = probe(written.probe, check);
    let dns = dns(&written.dns, check);
    let mode = mode(&written.mode, check);
    let ready = check.period("ready/period", written.ready.period);
    let edge = edge(written.edge, check);
    let judge = judge(&written.judge, check);
    let remedy = remedy(written.remedy, check);
    let window = window(written.window, check);
    let account_id =
        optional(&written.api.account_id).map(|id| check.parsed("api/account_id", AccountId::parse(id)));
    let token = check.parsed("api/token", Credential::parse(&written.api.token));
    let api_period = check.period("api/period", written.api.period);
    if written.api.global_key {
        check.warn("api/global_key", "uses the account's global key, which can do everything; a token with the rights it needs is safer");
    }
    let listen = listen(&written.http.listen, check);
    let tunnels = tunnels::tunnels(written.tunnel, check);
    Some(Settings {
        mode: mode?,
        probe: probe?,
        dns,
        ready: Ready { period: ready },
        edge: edge?,
        judge,
        remedy,
        window,
        api: Api {
            account_id: account_id.flatten(),
            token: token?,
            global_key: written.api.global_key,
            period: api_period,
        },
        http: Http { listen: listen? },
        tunnels,
    })
    .filter(|_| check.errors.is_empty())
}

fn mode(text: &str, check: &mut Check<'_>) -> Option<Mode> {
    match text {
        "remedy" => Some(Mode::Remedy),
        "observe" => Some(Mode::Observe),
        _ => {
            check.refuse("mode", "must be \"remedy\", or \"observe\" to judge and report and touch nothing");
            None
        }
    }
}

fn probe(probe: WrittenProbe, check: &mut Check<'_>) -> Option<Probe> {
    let period = check.period("probe/period", probe.period);
    let period_down = check.period("probe/period_down", probe.period_down);
    let timeout = check.at_least("probe/timeout", probe.timeout, Duration::from_millis(100));
    let shortest = period.min(period_down);
    let concluded = ["probe/period", "probe/period_down", "probe/timeout"];
    if shortest < timeout
        && SHORTEST_PERIOD <= shortest
        && !concluded.iter().any(|path| check.origins.refused(path))
    {
        let name = if period < timeout { "probe.period" } else { "probe.period_down" };
        let most = written(shortest);
        check.refuse(
            "probe/timeout",
            &format!("is longer than {name}, which is \"{most}\"; write at most \"{most}\""),
        );
    }
    let control =
        probe.control.iter().filter_map(|url| check.parsed("probe/control", super::HttpsUrl::parse(url)));
    let control: Vec<_> = control.collect();
    if probe.control.is_empty() {
        check.refuse("probe/control", "is empty; name at least one URL that Cloudflare's edge answers without the tunnel, or leave the key out");
    }
    let resolve = check.parsed("probe/resolve", Resolve::parse(&probe.resolve));
    let edge_addresses = edge_addresses(&probe.edge_addresses, check);
    let observers = probe
        .observers
        .iter()
        .filter_map(|url| check.parsed("probe/observers", ObserverUrl::parse(url)))
        .collect();
    Some(Probe { period, period_down, timeout, control, resolve: resolve?, edge_addresses, observers })
}

fn edge_addresses(written: &[String], check: &mut Check<'_>) -> Vec<IpAddr> {
    if written.is_empty() {
        let says = "is empty; name at least one of Cloudflare's addresses, or leave the key out";
        check.refuse("probe/edge_addresses", says);
    }
    let mut addresses = Vec::new();
    for text in written {
        match text.parse::<IpAddr>() {
            Ok(address) if !address.is_unspecified() => addresses.push(address),
            Ok(_) | Err(_) => {
                let shown = redact::value("", text);
                let says = format!("has {shown}, which is no address; write it as \"104.16.132.229\"");
                check.refuse("probe/edge_addresses", &says);
            }
        }
    }
    addresses
}

fn dns(dns: &WrittenDns, check: &mut Check<'_>) -> Dns {
    let resolver = optional(&dns.resolver).and_then(|text| {
        let found = names::resolver(text);
        if found.is_none() {
            let says = "must be the address of a resolver, such as \"1.1.1.1\", or \"\" for none";
            check.refuse("dns/resolver", says);
        }
        found
    });
    let mut ranges = Vec::new();
    for text in &dns.ranges {
        match text.clone().try_into() {
            Ok(range) => ranges.push(range),
            Err(_) => {
                let shown = redact::value("", text);
                let says = format!("has {shown}, which is no range; write it as \"198.51.100.0/24\"");
                check.refuse("dns/ranges", &says);
            }
        }
    }
    let least = Duration::from_secs(5);
    Dns {
        period: check.at_least("dns/period", dns.period, least),
        period_down: check.at_least("dns/period_down", dns.period_down, least),
        resolver,
        ranges,
    }
}

fn edge(edge: WrittenEdge, check: &mut Check<'_>) -> Option<Edge> {
    let region = match edge.region.as_str() {
        "" => Some(Region::Global),
        "us" => Some(Region::Us),
        "fed" => Some(Region::Fed),
        _ => {
            check.refuse(
                "edge/region",
                "must be \"\" (anywhere), \"us\" or \"fed\", as cloudflared's --region",
            );
            None
        }
    };
    let period = check.period("edge/period", edge.period);
    let period_down = check.period("edge/period_down", edge.period_down);
    let status_page = optional(&edge.status_page).and_then(|text| status_page(text, check));
    Some(Edge { period, period_down, region: region?, status_page })
}

/// The page's address alone: what it is asked for comes behind that.
fn status_page(text: &str, check: &mut Check<'_>) -> Option<HttpsUrl> {
    let page = HttpsUrl::parse(text).ok();
    let page = page
        .filter(|page| page.as_str().trim_end_matches('/') == format!("https://{}", page.url().authority()));
    if page.is_none() {
        let says = "must be the address of a status page alone, such as \"https://www.cloudflarestatus.com\", or \"\" for none";
        check.refuse("edge/status_page", says);
    }
    page
}

fn judge(judge: &WrittenJudge, check: &mut Check<'_>) -> Judge {
    if judge.rounds == 0 {
        check.refuse(
            "judge/rounds",
            "must be at least 1: trouble has to be seen before it is judged; write 2",
        );
    }
    Judge {
        sustained: check.at_least("judge/sustained", judge.sustained, SECOND),
        rounds: judge.rounds,
        patience: check.at_least("judge/patience", judge.patience, SECOND),
        start_grace: judge.start_grace.0,
        boot_grace: judge.boot_grace.0,
        healthy_after: check.at_least("judge/healthy_after", judge.healthy_after, MINUTE),
    }
}

fn remedy(remedy: WrittenRemedy, check: &mut Check<'_>) -> Remedy {
    let cooldown: Vec<Duration> = remedy.cooldown.iter().map(|span| span.0).collect();
    let form = "write cooldown = [\"5m\", \"10m\", \"20m\", \"30m\"]";
    if cooldown.is_empty() {
        check.refuse(
            "remedy/cooldown",
            &format!("is empty, but there must be a pause after each remedy; {form}"),
        );
    } else if cooldown.iter().any(Duration::is_zero) {
        check.refuse("remedy/cooldown", &format!("has a pause of no length; {form}"));
    } else if let Some((before, after)) =
        cooldown.iter().zip(cooldown.iter().skip(1)).find(|(before, after)| after <= before)
    {
        let (before, after) = (written(*before), written(*after));
        let says = format!("must grow from pause to pause, but \"{after}\" follows \"{before}\"; {form}");
        check.refuse("remedy/cooldown", &says);
    }
    for (path, limit) in [
        ("remedy/per_hour", remedy.per_hour),
        ("remedy/per_day", remedy.per_day),
        ("remedy/per_hour_host", remedy.per_hour_host),
    ] {
        if limit == 0 {
            check.refuse(path, "must be at least 1; to never restart set mode = \"observe\"");
        }
    }
    let known = !check.origins.refused("remedy/per_hour") && !check.origins.refused("remedy/per_day");
    if known && remedy.per_day < remedy.per_hour && remedy.per_day != 0 {
        let says = format!("is less than remedy.per_hour, which is {0}; write at least {0}", remedy.per_hour);
        check.refuse("remedy/per_day", &says);
    }
    if remedy.transport_fallback {
        check.warn("remedy/transport_fallback", "has no effect yet");
    }
    Remedy {
        cooldown,
        per_hour: remedy.per_hour,
        per_day: remedy.per_day,
        per_hour_host: remedy.per_hour_host,
        half_open: check.at_least("remedy/half_open", remedy.half_open, MINUTE),
        swift: remedy.swift,
        start_stopped: remedy.start_stopped,
        transport_fallback: remedy.transport_fallback,
    }
}

fn window(window: WrittenWindow, check: &mut Check<'_>) -> calendar::Windows {
    calendar::Windows {
        forbid: spans("window/forbid", &window.forbid, check),
        allow: spans("window/allow", &window.allow, check),
    }
}

fn spans(path: &str, written: &[String], check: &mut Check<'_>) -> Vec<calendar::Span> {
    let mut spans = Vec::new();
    for text in written {
        match calendar::Span::parse(text) {
            Ok(span) => spans.push(span),
            Err(error) => check.refuse(path, &format!("has {}, which {error}", redact::value("", text))),
        }
    }
    spans
}

fn listen(text: &str, check: &mut Check<'_>) -> Option<SocketAddr> {
    let address = check.address("http/listen", text, "127.0.0.1:9733")?;
    if !address.ip().is_loopback() {
        check.warn("http/listen", "is not a loopback address: only /metrics and /healthz are served, and whoever can connect can read them");
    }
    Some(address)
}

/// An empty text means that nothing is set.
fn optional(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl Check<'_> {
    /// Notes that the value at `path` cannot be.
    pub(super) fn refuse(&mut self, path: &str, says: &str) {
        if ERRORS_TOLD <= self.errors.len() {
            return;
        }
        let (place, excerpt) = self.origins.of(path);
        self.errors.push(ConfigError::Refused { place, key: key(path), says: says.to_owned(), excerpt });
    }

    pub(super) fn warn(&mut self, path: &str, says: &str) {
        let (place, _) = self.origins.of(path);
        let place = if place == Place::BuiltIn { String::new() } else { format!("{place}: ") };
        self.warnings.push(format!("{place}{} {says}", key(path)));
    }

    pub(super) fn parsed<T>(&mut self, path: &str, result: Result<T, WrongForm>) -> Option<T> {
        result.map_err(|wrong| self.refuse(path, &wrong.to_string())).ok()
    }

    pub(super) fn address(&mut self, path: &str, text: &str, example: &str) -> Option<SocketAddr> {
        let says = match text.parse::<SocketAddr>() {
            Ok(address) if address.port() != 0 => return Some(address),
            Ok(_) => format!("has port 0, which is none; write an address and a port, such as \"{example}\""),
            Err(_) => match text.strip_prefix("localhost:").and_then(|port| port.parse::<u16>().ok()) {
                Some(port) => format!("must be an address, not a name; write \"127.0.0.1:{port}\""),
                None => format!("is not an address with a port; write it as \"{example}\""),
            },
        };
        self.refuse(path, &says);
        None
    }

    pub(super) fn absolute(&mut self, path: &str, text: &str, example: &str) -> Option<PathBuf> {
        let file = PathBuf::from(text);
        if file.is_absolute() && !text.contains(char::is_control) {
            return Some(file);
        }
        self.refuse(path, &format!("must be a whole path, such as \"{example}\""));
        None
    }

    /// Whether `item` has come before; notes it if so.
    pub(super) fn twice<T: Ord>(&mut self, path: &str, seen: &mut BTreeSet<T>, item: T, says: &str) -> bool {
        let twice = !seen.insert(item);
        if twice {
            self.refuse(path, says);
        }
        twice
    }

    fn period(&mut self, path: &str, span: Span) -> Duration {
        self.at_least(path, span, SHORTEST_PERIOD)
    }

    fn at_least(&mut self, path: &str, Span(span): Span, least: Duration) -> Duration {
        if span < least {
            let known = path.split_once('/').and_then(|(section, name)| super::keys::find(section, name));
            let usual = known.map_or("", |known| known.example);
            self.refuse(path, &format!("must be at least \"{}\"; usual is {usual}", written(least)));
        }
        span
    }
}

/// A path as the user knows it: without what tells apart the tables of a list.
fn key(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts.as_slice() {
        ["tunnel", _unit, list, _number, rest @ ..] => {
            ["tunnel", list].iter().chain(rest).copied().collect::<Vec<_>>().join(".")
        }
        ["tunnel", _unit, rest @ ..] => ["tunnel"].iter().chain(rest).copied().collect::<Vec<_>>().join("."),
        _ => parts.join("."),
    }
}

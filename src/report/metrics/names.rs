//! What there is to say of each public name, written out as it is asked for. A host may have a thousand of them, with some
//! twenty series each: kept as the others are, these would take more memory than everything else.

use std::fmt::Write as _;

use super::super::snapshot::{About, elsewhere, route};
use super::name_of;
use crate::warden::evidence::{Answer, Exchange, NameTrack};
use crate::warden::machine::Warden;
use crate::warden::route::WORDS;
use crate::warden::tunnel::Tunnel;

/// One name of one tunnel.
struct Of<'a> {
    tunnel: &'a Tunnel,
    /// What metrics call the tunnel.
    called: &'a str,
    hostname: &'a str,
    track: &'a NameTrack,
}

impl Of<'_> {
    fn answer(&self) -> Answer {
        self.track.latest.as_ref().map_or(Answer::Blind, |(_, sight)| sight.answer)
    }

    fn exchange(&self) -> Option<&Exchange> {
        self.track.latest.as_ref().map(|(_, sight)| &sight.exchange)
    }
}

/// Adds the families of names to `text`.
pub(super) fn write(text: &mut String, warden: &Warden, about: &About) {
    let mut names = Vec::new();
    for tunnel in warden.tunnels() {
        let called = name_of(about, &tunnel.unit);
        names.extend(tunnel.evidence.names.iter().map(|(hostname, track)| Of {
            tunnel,
            called,
            hostname,
            track,
        }));
    }
    if names.is_empty() {
        return;
    }
    let mut out = Out { text, names: &names };
    out.family("name_up", "1 if the public name is served.", |one, add| {
        add(["", ""], f64::from(one.answer() == Answer::Served));
    });
    out.family("name_answer", "1 for the kind of the last answer of the public name.", |one, add| {
        for kind in Answer::ALL {
            add(["answer", kind.word()], f64::from(one.answer() == kind));
        }
    });
    let help = "1 for where DNS leads the public name: to Cloudflare (routed), elsewhere (misrouted), nowhere (missing).";
    out.family("name_route", help, |one, add| {
        let leads = route(one.tunnel, one.hostname);
        for word in WORDS {
            add(["route", word], f64::from(leads == Some(word)));
        }
    });
    let help = "1 if a prober elsewhere (probe.observers) was served the public name when it last erred here; absent where none was asked or answered.";
    out.family("observer_up", help, |one, add| {
        if let Some(word) = elsewhere(one.tunnel, one.hostname) {
            add(["", ""], f64::from(word == "served"));
        }
    });
    let help = "Time of each phase of the last look at a public name: dns (0 while its addresses are known), tcp, tls, first_byte. Absent for a phase that was not reached.";
    out.family("probe_duration_seconds", help, |one, add| {
        let Some(Exchange { dns, tcp, tls, first_byte, .. }) = one.exchange() else { return };
        for (phase, took) in [("dns", dns), ("tcp", tcp), ("tls", tls), ("first_byte", first_byte)] {
            if let Some(took) = took {
                add(["phase", phase], took.as_secs_f64());
            }
        }
    });
    let help = "Version of HTTP that the public name last answered in; absent without an answer.";
    out.family("probe_http_version", help, |one, add| {
        let http = one.exchange().and_then(|exchange| exchange.http.as_deref());
        if let Some(version) = http.and_then(|http| http.strip_prefix("HTTP/")?.parse().ok()) {
            add(["", ""], version);
        }
    });
    let help = "When the certificate that the public name last showed ends.";
    out.family("certificate_expiry_timestamp_seconds", help, |one, add| {
        if let Some(ends) = one.exchange().and_then(|exchange| exchange.certificate_expiry) {
            add(["", ""], ends as f64);
        }
    });
}

struct Out<'a> {
    text: &'a mut String,
    names: &'a [Of<'a>],
}

impl Out<'_> {
    /// `each` adds the series of one name: one further label, if it has one, and the value.
    fn family(&mut self, name: &str, help: &str, each: impl Fn(&Of<'_>, &mut dyn FnMut([&str; 2], f64))) {
        let Self { text, names } = self;
        // Writing into a text cannot fail.
        let _ = write!(text, "# HELP tunnelwarden_{name} {help}\n# TYPE tunnelwarden_{name} gauge\n");
        for one in *names {
            let (hostname, tunnel) = (escaped(one.hostname), escaped(one.called));
            each(one, &mut |[label, word], value| {
                let further = if label.is_empty() { String::new() } else { format!("{label}=\"{word}\",") };
                // By name, as those of all others are.
                let (before, between) =
                    if label < "hostname" { (further.as_str(), "") } else { ("", further.as_str()) };
                let labels = format!("{before}hostname=\"{hostname}\",{between}tunnel=\"{tunnel}\"");
                let _ = writeln!(text, "tunnelwarden_{name}{{{labels}}} {value}");
            });
        }
    }
}

/// As Prometheus' text form wants a label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::warden::event::Event;
    use crate::warden::evidence::{Finding, NameSight};
    use crate::warden::machine::Memory;
    use crate::warden::policy::Policy;
    use crate::warden::time::Now;

    #[test]
    fn each_name_has_its_series_with_labels_in_the_order_of_all_others() {
        let mut warden = Warden::new(Policy::shipped(), Memory::default());
        let now = Now { boot: Duration::from_secs(900), wall: Duration::from_secs(1_800_000_000) };
        let (unit, hostname) = ("a\"b.service".to_owned(), "app.example.com".to_owned());
        let about = About { started: now.wall, tunnels: Vec::new() };
        let mut text = String::new();
        write(&mut text, &warden, &about);
        assert_eq!(text, "", "no name, no family");
        drop(warden.handle(Event::Tunnel { unit: unit.clone(), names: vec![hostname.clone()] }, now));
        let exchange = Exchange {
            dns: Some(Duration::ZERO),
            tcp: Some(Duration::from_millis(20)),
            http: Some("HTTP/2".into()),
            certificate_expiry: Some(1_900_000_000),
            ..Exchange::default()
        };
        let sight = NameSight {
            answer: Answer::TunnelError,
            status: Some(530),
            code: Some(1033),
            latency: Duration::ZERO,
            colo: None,
            detail: String::new(),
            exchange,
        };
        drop(warden.handle(Event::Observed { unit, finding: Finding::Name { hostname, sight } }, now));
        write(&mut text, &warden, &about);
        for line in [
            "tunnelwarden_name_up{hostname=\"app.example.com\",tunnel=\"a\\\"b.service\"} 0",
            "tunnelwarden_name_answer{answer=\"tunnel_error\",hostname=\"app.example.com\",tunnel=\"a\\\"b.service\"} 1",
            "tunnelwarden_name_answer{answer=\"served\",hostname=\"app.example.com\",tunnel=\"a\\\"b.service\"} 0",
            "tunnelwarden_name_route{hostname=\"app.example.com\",route=\"missing\",tunnel=\"a\\\"b.service\"} 0",
            "tunnelwarden_probe_duration_seconds{hostname=\"app.example.com\",phase=\"tcp\",tunnel=\"a\\\"b.service\"} 0.02",
            "tunnelwarden_probe_http_version{hostname=\"app.example.com\",tunnel=\"a\\\"b.service\"} 2",
            "tunnelwarden_certificate_expiry_timestamp_seconds{hostname=\"app.example.com\",tunnel=\"a\\\"b.service\"} 1900000000",
        ] {
            assert!(text.lines().any(|had| had == line), "{line}\n{text}");
        }
        assert!(!text.contains("phase=\"tls\"") && !text.contains("observer_up{"), "{text}");
        assert_eq!(text.matches("# TYPE ").count(), 7);
    }
}

//! What was seen of public names, put into a report.

use std::time::Duration;

use serde_json::{Value, json};

use super::look::Seen;
use crate::audit::Severity;
use crate::audit::dns;
use crate::cli::records::{Records, as_json as of_api};
use crate::cli::report::{Report, Section};
use crate::client::answer::{Answer, BlindReason};
use crate::client::dns::DnsFailure;
use crate::warden::route::Route;
use crate::warden::time::Now;

const DAY: i64 = 86_400;
/// Cloudflare renews its own certificates weeks before.
const CERTIFICATE_DAYS: i64 = 7;
/// Said wherever somebody might look for the record with dig.
const DIG: &str = "`dig CNAME` answers nothing for a name that is right: Cloudflare answers a proxied name with addresses of \
                   its own. The record itself is seen in the dashboard, or here with a token that may read DNS.";

/// What an answer comes to.
enum Judged {
    Fine,
    /// Nothing speaks against it, and nothing proves the tunnel.
    Unproven(String),
    Wrong(String),
    Unseen(String),
}

/// Writes everything down, the verdict last.
pub(super) fn write(report: &mut Report, seen: &[Seen], records: Option<&Records>, now: Now) {
    let mut remarks = Vec::new();
    let (mut wrong, mut unproven, mut unseen) = (Vec::new(), 0, 0);
    for one in seen {
        let at = shown(one);
        match judge(one, now) {
            Judged::Fine => (),
            Judged::Unproven(says) => {
                unproven += 1;
                remarks.push((at.clone(), says));
            }
            Judged::Wrong(says) => {
                wrong.push(at.clone());
                remarks.push((at.clone(), says));
            }
            // The finding says it.
            Judged::Unseen(_) if matches!(one.dns, Err(DnsFailure::NxDomain | DnsFailure::NoRecords)) => {
                wrong.push(at)
            }
            Judged::Unseen(says) => {
                unseen += 1;
                report.blind.push(format!("{at}: {says}"));
            }
        }
        let name = one.place.hostname();
        match &one.dns {
            Ok(found) => {
                let leads = dns::public(&found.addresses, &found.aliases);
                report.findings.extend(dns::route(name, &leads, one.sight.marks.ray.is_some()));
            }
            Err(DnsFailure::NxDomain | DnsFailure::NoRecords) => {
                report.findings.extend(dns::route(name, &Route::Missing, false));
            }
            Err(failure) => report.blind.push(format!("DNS of {name}: {failure}.")),
        }
        if let Some(found) = records.and_then(|records| records.of.get(name)) {
            report.findings.extend(dns::record(name, found, one.place.tunnel.as_deref()));
        }
    }
    report.findings.sort_by(|a, b| (a.rule, &a.what).cmp(&(b.rule, &b.what)));
    report.findings.dedup();
    report.wrong |= !wrong.is_empty();
    report.sections.push(table(seen, now));
    if !remarks.is_empty() {
        report.sections.push(Section::Facts { title: "Answers".into(), facts: remarks });
    }
    report.sections.push(Section::Facts { title: "Records".into(), facts: about_records(records) });
    let grave = report.findings.iter().any(|finding| finding.severity != Severity::Note);
    report.verdict = verdict(seen.len(), &wrong, unproven, unseen, grave);
    report.data = json!({ "names": seen.iter().map(|one| as_json(one, records)).collect::<Vec<_>>() });
}

/// The name, and the path where that is not the root.
fn shown(one: &Seen) -> String {
    let url = &one.place.target.url;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = if url.path() == "/" { "" } else { url.path() };
    format!("{}{port}{path}", one.place.hostname())
}

fn judge(one: &Seen, now: Now) -> Judged {
    let sight = &one.sight;
    let status = sight.status.map_or("no status".to_owned(), |status| status.to_string());
    match sight.answer {
        Answer::Served => match days_left(one, now) {
            Some(days) if days < 0 => Judged::Wrong("its certificate is over".into()),
            Some(days) if days < CERTIFICATE_DAYS => Judged::Wrong(format!(
                "served, and its certificate ends in {days} d without having been renewed."
            )),
            Some(_) | None if sight.http_version != Some("HTTP/2") => Judged::Unproven(
                "served, and not by HTTP/2: that is switched off for the zone, or a proxy is in the way."
                    .into(),
            ),
            Some(_) | None => Judged::Fine,
        },
        Answer::TunnelError => Judged::Wrong(format!(
            "{status}, Error 1033: Cloudflare finds no connector for its tunnel. tunnelwarden diagnose, on the host that \
             should run it, says why."
        )),
        Answer::DnsError => Judged::Wrong(format!(
            "{status}, Error 1016: what its record points to does not resolve; the tunnel was deleted, or the record is wrong."
        )),
        Answer::EdgeError => {
            let code = sight.code.map(|code| format!(", Error {code}")).unwrap_or_default();
            Judged::Wrong(format!("{status}{code}, an error of Cloudflare's edge and not of the tunnel."))
        }
        Answer::OriginError => Judged::Wrong(format!(
            "{status}: the tunnel may work, and the service behind it does not answer; look at the origin first."
        )),
        Answer::Access => Judged::Unproven(format!(
            "{status}: Cloudflare Access asks for a login before the tunnel, so that only the edge is proven."
        )),
        Answer::Challenge => Judged::Unproven(format!(
            "{status}: this command itself was challenged or banned (WAF, bot protection), which proves only the edge."
        )),
        Answer::Cached => Judged::Unproven(format!(
            "{status} from the edge's cache, a redirect rule or a Worker, which proves only the edge."
        )),
        Answer::Unexpected => Judged::Wrong(format!("{}; [[tunnel.probe]] expects otherwise.", sight.detail)),
        Answer::Blind(reason) => blind(reason, &sight.detail),
    }
}

fn blind(reason: BlindReason, detail: &str) -> Judged {
    match reason {
        BlindReason::Tls => Judged::Wrong(format!("its certificate is not accepted: {detail}.")),
        BlindReason::CertificateDates => Judged::Wrong(format!(
            "its certificate is not valid now, or this host's clock is wrong: {detail}."
        )),
        BlindReason::NotEdge => Judged::Wrong(format!(
            "{detail}: the name leads past Cloudflare, or something on the way answers in its place."
        )),
        BlindReason::Dns => Judged::Unseen(format!("it was not resolved ({detail}).")),
        BlindReason::Connect => {
            Judged::Unseen(format!("no connection ({detail}); is this host's own way out open?"))
        }
        BlindReason::Timeout => Judged::Unseen(format!("{detail}; is this host's own way out open?")),
        BlindReason::Garbled => Judged::Unseen(format!("it answered what is no HTTP ({detail}).")),
        BlindReason::BadTarget => Judged::Unseen(format!("it is no address that can be asked ({detail}).")),
    }
}

fn verdict(all: usize, wrong: &[String], unproven: usize, unseen: usize, found: bool) -> String {
    let names = |n: usize| if n == 1 { "1 address".to_owned() } else { format!("{n} addresses") };
    let unproven = match unproven {
        0 => String::new(),
        1 => " One of them has a remark.".to_owned(),
        n => format!(" {n} of them have a remark."),
    };
    let fine = all - wrong.len() - unseen;
    match (wrong, unseen) {
        ([], 0) if found => format!(
            "Every address answers ({all} of {all}), and something was found besides: see above.{unproven}"
        ),
        ([], 0) => format!("Every address answers ({all} of {all}).{unproven}"),
        ([], unseen) => {
            format!("{fine} of {all} answer, and {} could not be looked at.{unproven}", names(unseen))
        }
        (wrong, _) => format!("{} of {all} wrong: {}.{unproven}", names(wrong.len()), wrong.join(", ")),
    }
}

fn days_left(one: &Seen, now: Now) -> Option<i64> {
    let left = one.sight.certificate_expiry? - i64::try_from(now.wall.as_secs()).unwrap_or(i64::MAX);
    Some(left.div_euclid(DAY))
}

fn table(seen: &[Seen], now: Now) -> Section {
    let odd_server =
        |one: &&Seen| one.sight.marks.server.as_deref().is_some_and(|server| server != "cloudflare");
    let servers = seen.iter().any(|one| odd_server(&one));
    let mut columns = vec!["name", "dns", "status", "cf-ray", "cache", "cert"];
    if servers {
        columns.insert(3, "server");
    }
    let row = |one: &Seen| {
        let sight = &one.sight;
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let mut cells = vec![
            shown(one),
            dns_word(one).to_owned(),
            or_none(
                sight.http_version.zip(sight.status).map(|(version, status)| format!("{version} {status}")),
            ),
            or_none(sight.colo.clone().or_else(|| sight.marks.ray.clone())),
            or_none(sight.marks.cache.clone()),
            or_none(days_left(one, now).map(|days| format!("{days} d"))),
        ];
        if servers {
            cells.insert(3, or_none(sight.marks.server.clone()));
        }
        cells
    };
    Section::Table { title: "Names".into(), columns, rows: seen.iter().map(row).collect() }
}

fn dns_word(one: &Seen) -> &'static str {
    match &one.dns {
        Ok(found) => dns::word(&dns::public(&found.addresses, &found.aliases)),
        Err(DnsFailure::NxDomain | DnsFailure::NoRecords) => dns::word(&Route::Missing),
        Err(_) => "unseen",
    }
}

fn about_records(records: Option<&Records>) -> Vec<(String, String)> {
    let mut facts = vec![("dig".to_owned(), DIG.to_owned())];
    match records {
        None => facts.push((
            "read by API".into(),
            "none, for want of a token: set CLOUDFLARE_API_TOKEN, or --ask-token".into(),
        )),
        Some(records) => {
            let names: Vec<_> = records.of.keys().map(String::as_str).collect();
            facts.push((
                "read by API".into(),
                if names.is_empty() { "none".into() } else { names.join(", ") },
            ));
            facts.extend(
                records
                    .reasons()
                    .iter()
                    .map(|(why, names)| ("not read".into(), format!("{}: {why}.", names.join(", ")))),
            );
        }
    }
    facts
}

fn as_json(one: &Seen, records: Option<&Records>) -> Value {
    let sight = &one.sight;
    let (addresses, aliases) = match &one.dns {
        Ok(found) => (found.addresses.clone(), found.aliases.clone()),
        Err(_) => (Vec::new(), Vec::new()),
    };
    let name = one.place.hostname();
    let record = records.and_then(|records| records.of.get(name)).map(|found| of_api(found));
    json!({
        "url": one.place.target.url.as_str(), "hostname": name, "tunnel": one.place.tunnel,
        "dns": {
            "is": dns_word(one), "addresses": addresses, "aliases": aliases,
            "error": one.dns.as_ref().err().map(ToString::to_string),
        },
        "answer": word(sight.answer), "status": sight.status, "code": sight.code, "detail": sight.detail,
        "http": sight.http_version, "server": sight.marks.server, "cf_ray": sight.marks.ray, "colo": sight.colo,
        "cache": sight.marks.cache, "latency_ms": u64::try_from(sight.latency.as_millis()).unwrap_or(u64::MAX),
        "certificate_expiry": sight.certificate_expiry.and_then(|end| u64::try_from(end).ok())
            .map(|end| crate::clock::rfc3339(Duration::from_secs(end))),
        "records": record,
    })
}

fn word(answer: Answer) -> &'static str {
    match answer {
        Answer::Served => "served",
        Answer::TunnelError => "tunnel_error",
        Answer::DnsError => "dns_error",
        Answer::EdgeError => "edge_error",
        Answer::OriginError => "origin_error",
        Answer::Access => "access",
        Answer::Challenge => "challenge",
        Answer::Cached => "cached",
        Answer::Unexpected => "unexpected",
        Answer::Blind(_) => "blind",
    }
}

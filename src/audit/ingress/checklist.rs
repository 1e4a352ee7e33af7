//! The routes that there should be, against those that there are.

use super::host::lookup_form;
use super::service::service;
use super::{Ingress, Pattern, Request, Rule, Service};
use crate::audit::{Finding, Severity};
use crate::client::cloudflared_config::OriginRequest;

/// A route that there should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    /// Perhaps with `*.` before it.
    pub hostname: String,
    /// A path, or a pattern as rules have it; without: the root.
    pub path: Option<String>,
    pub service: String,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Right,
    Missing,
    WrongService,
    /// A rule for it is there, and another one comes first.
    Shadowed,
    /// Right for the path, not for what lies below it.
    Partial,
}

impl State {
    /// As JSON says it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Missing => "missing",
            Self::WrongService => "wrong_service",
            Self::Shadowed => "shadowed",
            Self::Partial => "partial",
        }
    }
}

/// A route of the checklist, and the rule that its requests meet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    pub expected: Expected,
    /// Its number.
    pub rule: Option<usize>,
    pub state: State,
}

/// A path that is no origin's own.
const BELOW_ROOT: &str = "/x-tunnelwarden";

impl Expected {
    /// As a person says it.
    pub fn route(&self) -> String {
        format!("{}{}", self.hostname, self.path.as_deref().unwrap_or_default())
    }

    /// Something that cloudflared would take as a service, be it with a slash at its end.
    pub fn is_service(text: &str) -> bool {
        let none = OriginRequest::default();
        service(text.trim_end_matches('/'), &none, &none).is_ok()
    }

    fn host(&self) -> String {
        let name = match self.hostname.strip_prefix("*.") {
            Some(name) => format!("any.{name}"),
            None => self.hostname.clone(),
        };
        lookup_form(&name).unwrap_or(name)
    }

    /// A path that is meant, and one below it where the whole segment is.
    fn paths(&self) -> (String, Option<String>) {
        let Some(path) = self.path.as_deref().filter(|path| !path.is_empty()) else {
            return ("/".into(), Some(BELOW_ROOT.into()));
        };
        if path.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.~%".contains(c)) {
            let path = format!("/{}", path.trim_start_matches('/'));
            let below = (path.len() != 1).then(|| format!("{}/x", path.trim_end_matches('/')));
            return (path, below);
        }
        let sample = Pattern::compile(path).ok().and_then(|pattern| pattern.sample().map(str::to_owned));
        (sample.unwrap_or_else(|| path.to_owned()), None)
    }

    /// It is a narrower route than `wide`, and this path is meant to go where the rule sends it.
    fn claims(&self, wide: &Self, path: &str, rule: &Rule) -> bool {
        let own = self.path.as_deref().filter(|own| !own.is_empty() && self.path != wide.path);
        let pattern = own.and_then(|own| Pattern::compile(own).ok());
        self.host() == wide.host()
            && pattern.is_some_and(|pattern| pattern.matches(path.as_bytes()))
            && goes_to(rule, &self.service)
    }

    /// As a rule would be written.
    fn rule(&self) -> String {
        let path = self.path.as_deref().filter(|path| !path.is_empty() && *path != "/");
        let path = path.map(|path| {
            let pattern = match path.strip_prefix('/') {
                Some(rest) if rest.chars().all(|c| c.is_ascii_alphanumeric() || "/-_.~".contains(c)) => {
                    format!("^/{}(/|$)", rest.trim_end_matches('/').replace('.', "\\."))
                }
                Some(_) | None => path.to_owned(),
            };
            format!("    path: {pattern}\n")
        });
        let quote = if self.hostname.starts_with('*') { "\"" } else { "" };
        format!(
            "  - hostname: {quote}{}{quote}\n{}    service: {}",
            self.hostname,
            path.unwrap_or_default(),
            self.service
        )
    }
}

pub(super) fn compare(ingress: &Ingress, listed: &[Expected]) -> (Vec<Routed>, Vec<Finding>) {
    let mut routed = Vec::new();
    let mut findings = Vec::new();
    for expected in listed {
        let (path, below) = expected.paths();
        let request = Request::plain(&expected.host(), &path);
        let Some(hit) = ingress.route(&request) else {
            routed.push(Routed { expected: expected.clone(), rule: None, state: State::Missing });
            continue;
        };
        let state = state(ingress, expected, &request, hit.rule);
        let below = below.map(|path| (Request::plain(&expected.host(), &path), path));
        let lost = match below {
            Some((request, path)) if state == State::Right => ingress
                .route(&request)
                .map(|hit| hit.rule)
                .filter(|rule| !goes_to(rule, &expected.service))
                .filter(|rule| !listed.iter().any(|other| other.claims(expected, &path, rule)))
                .map(|rule| (rule, path)),
            Some(_) | None => None,
        };
        let state = if lost.is_some() { State::Partial } else { state };
        findings.extend(finding(ingress, expected, hit.rule, state, &request, lost));
        routed.push(Routed { expected: expected.clone(), rule: Some(hit.rule.number), state });
    }
    (routed, findings)
}

fn state(ingress: &Ingress, expected: &Expected, request: &Request, hit: &Rule) -> State {
    if goes_to(hit, &expected.service) {
        return State::Right;
    }
    if later(ingress, expected, request, hit).is_some() {
        return State::Shadowed;
    }
    let rooted = expected.path.as_deref().is_none_or(|path| path.is_empty() || path == "/");
    let own = !hit.hosts.all() && (rooted == hit.path().is_empty());
    if own { State::WrongService } else { State::Missing }
}

fn later<'a>(ingress: &'a Ingress, expected: &Expected, request: &Request, hit: &Rule) -> Option<&'a Rule> {
    let mut rules = ingress.rules.iter().skip(hit.number);
    rules.find(|rule| rule.miss(request).is_none() && goes_to(rule, &expected.service) && !rule.catches_all())
}

fn finding(
    ingress: &Ingress,
    expected: &Expected,
    hit: &Rule,
    state: State,
    request: &Request,
    lost: Option<(&Rule, String)>,
) -> Option<Finding> {
    let route = expected.route();
    let seat = hit.named();
    let (severity, id, says) = match state {
        State::Right => return None,
        State::Missing => {
            let what = format!("There is no rule for {route}: {seat} answers.");
            let why = format!("Its requests go to {} and not to {}.", hit.written, expected.service);
            let fix = format!("Add it before rule #{}:\n{}", hit.number, expected.rule());
            (Severity::Error, "missing-route", [what, why, fix])
        }
        State::WrongService => {
            let what = format!("{route} goes to {} by {seat}.", hit.written);
            let why = format!("The checklist says {}.", expected.service);
            let fix = format!("Correct the rule, or the checklist:\nservice: {}", expected.service);
            (Severity::Error, "wrong-service", [what, why, fix])
        }
        State::Shadowed => {
            let own = later(ingress, expected, request, hit)?;
            let what = format!(
                "{route} goes to {} by {seat}; rule #{} would be right and comes later.",
                hit.written, own.number
            );
            let why = format!("The first rule that matches counts; the checklist says {}.", expected.service);
            let fix = format!("Move rule #{} before rule #{}.", own.number, hit.number);
            (Severity::Error, "shadowed-route", [what, why, fix])
        }
        State::Partial => {
            let (rule, path) = lost?;
            let what = format!(
                "{route} is right by {seat}, but {path} goes to {} by rule #{}.",
                rule.written, rule.number
            );
            let why = "What lies below a path usually belongs to it.".to_owned();
            let fix = if rule.number < hit.number {
                format!(
                    "Narrow the path of rule #{}, which comes first, or take it away; if it is meant, write it into the checklist, too.",
                    rule.number
                )
            } else {
                format!("Let the rule match what is below, too:\n{}", expected.rule())
            };
            (Severity::Warning, "partial-route", [what, why, fix])
        }
    };
    Some(ingress.finding(severity, id, hit.line, says))
}

/// The same service, whatever the case of its host and whether a usual port is written.
fn goes_to(rule: &Rule, expected: &str) -> bool {
    if rule.written == expected {
        return true;
    }
    let none = OriginRequest::default();
    let parsed = service(expected.trim_end_matches('/'), &none, &none).ok();
    match (rule.service.as_ref(), parsed.as_ref()) {
        (Some(Service::Http(a) | Service::Stream(a)), Some(Service::Http(b) | Service::Stream(b))) => {
            a.scheme == b.scheme && a.host.eq_ignore_ascii_case(&b.host) && a.port == b.port
        }
        (Some(a), Some(b)) => a == b,
        (Some(_) | None, Some(_) | None) => false,
    }
}

//! The ingress rules of a tunnel: what cloudflared refuses, which rule a request meets, what no request can meet, what
//! matches more than was meant, and whether the routes of a checklist are there.

mod accepted;
mod checklist;
mod go_regexp;
mod host;
mod meaning;
mod order;
mod origins;
mod path;
mod request;
mod service;

use std::borrow::Cow;

use super::{Audit, Finding, Place, Severity};
use crate::client::cloudflared_config::IngressFile;
use crate::client::origin_address::without_passwords;
use host::Hosts;
use path::Pattern;

pub use checklist::{Expected, Routed, State};
pub use origins::{Origin, Sight};
pub use request::{BadUrl, Request};
pub use service::{Address, Service};

/// More rules are not compared with one another.
pub const MOST_COMPARED: usize = 1000;

/// Rules, as cloudflared understands them.
#[derive(Debug)]
pub struct Ingress {
    /// Where they are, as a person calls it.
    file: String,
    rules: Vec<Rule>,
}

/// One rule.
#[derive(Debug)]
pub struct Rule {
    /// Counted from 1.
    number: usize,
    /// 0: not in a file.
    line: u64,
    hosts: Hosts,
    path: Paths,
    /// As written.
    written: String,
    service: Option<Service>,
}

#[derive(Debug)]
enum Paths {
    All,
    Of(Box<Pattern>),
    /// Not a pattern of Go's.
    Broken(String),
}

/// The rule that a request meets, and why not one before it.
#[derive(Debug)]
pub struct Hit<'a> {
    pub rule: &'a Rule,
    pub passed: Vec<(&'a Rule, Miss)>,
}

/// Why a rule is not met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    Host,
    Path,
    Both,
}

impl Ingress {
    /// Reads the rules of `file`, and says what cloudflared refuses or passes over.
    pub fn of(written: &IngressFile, file: &str) -> (Self, Vec<Finding>) {
        accepted::read(written, file)
    }

    /// What is wrong with rules that cloudflared takes: those that no request meets, and those that meet more than meant.
    /// `None`: they are too many to be compared with one another.
    pub fn findings(&self) -> Option<Vec<Finding>> {
        if MOST_COMPARED < self.rules.len() {
            return None;
        }
        let mut findings = order::findings(self);
        findings.extend(meaning::findings(self));
        Some(findings)
    }

    /// Compares with a checklist.
    pub fn compare(&self, expected: &[Expected]) -> (Vec<Routed>, Vec<Finding>) {
        checklist::compare(self, expected)
    }

    /// What was seen of the rules' origins, as findings.
    pub fn origin_findings(&self, sights: &[(Origin, Sight)]) -> Vec<Finding> {
        origins::findings(self, sights)
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The first rule that matches, as cloudflared chooses; the last one if none does. `None`: there are no rules.
    pub fn route(&self, request: &Request) -> Option<Hit<'_>> {
        let mut passed = Vec::new();
        for rule in &self.rules {
            match rule.miss(request) {
                Some(miss) if rule.number < self.rules.len() => passed.push((rule, miss)),
                Some(_) | None => return Some(Hit { rule, passed }),
            }
        }
        None
    }

    /// Both have the same rules, wherever they were written.
    pub fn same_rules(&self, other: &Self) -> bool {
        self.rules.len() == other.rules.len()
            && self.rules.iter().zip(&other.rules).all(|(one, other)| {
                one.hosts == other.hosts && one.path() == other.path() && one.same_service(other)
            })
    }

    fn place(&self, line: u64) -> Place {
        Place { file: self.file.clone(), line: (line != 0).then_some(line) }
    }

    fn finding(&self, severity: Severity, rule: &'static str, line: u64, says: [String; 3]) -> Finding {
        let [what, why, fix] = says;
        Finding { audit: Audit::Ingress, severity, rule, place: Some(self.place(line)), what, why, fix }
    }
}

impl Rule {
    pub fn number(&self) -> usize {
        self.number
    }

    /// Counted from 1; `None` where the rules are in no file.
    pub fn line(&self) -> Option<u64> {
        (self.line != 0).then_some(self.line)
    }

    /// As written; empty is every host.
    pub fn hostname(&self) -> &str {
        self.hosts.written()
    }

    /// As written; empty is every path.
    pub fn path(&self) -> &str {
        match &self.path {
            Paths::All => "",
            Paths::Of(pattern) => pattern.text(),
            Paths::Broken(text) => text,
        }
    }

    /// As written, without the password that may be in it.
    pub fn service_text(&self) -> Cow<'_, str> {
        without_passwords(&self.written)
    }

    /// `None`: cloudflared does not take it.
    pub fn service(&self) -> Option<&Service> {
        self.service.as_ref()
    }

    /// What it matches, in short.
    pub fn matches_text(&self) -> String {
        match (self.hosts.all(), self.path()) {
            (true, "") => "everything else".to_owned(),
            (true, path) => format!("every host, path {path}"),
            (false, "") => self.hostname().to_owned(),
            (false, path) => format!("{} {path}", self.hostname()),
        }
    }

    /// Its number and what it matches, for sentences.
    fn named(&self) -> String {
        match self.line() {
            Some(line) => format!("rule #{} ({}, line {line})", self.number, self.matches_text()),
            None => format!("rule #{} ({})", self.number, self.matches_text()),
        }
    }

    fn catches_all(&self) -> bool {
        self.hosts.all() && matches!(self.path, Paths::All)
    }

    /// Why this request does not meet it.
    fn miss(&self, request: &Request) -> Option<Miss> {
        let path = match &self.path {
            Paths::All => true,
            Paths::Of(pattern) => pattern.matches(request.path()),
            Paths::Broken(_) => false,
        };
        match (self.hosts.matches(request.host()), path) {
            (true, true) => None,
            (false, true) => Some(Miss::Host),
            (true, false) => Some(Miss::Path),
            (false, false) => Some(Miss::Both),
        }
    }

    fn pattern(&self) -> Option<&Pattern> {
        match &self.path {
            Paths::Of(pattern) => Some(pattern),
            Paths::All | Paths::Broken(_) => None,
        }
    }

    fn broken(&self) -> bool {
        matches!(self.path, Paths::Broken(_))
    }

    /// Both send a request to the same place.
    fn same_service(&self, other: &Self) -> bool {
        self.written == other.written || (self.service.is_some() && self.service == other.service)
    }
}

#[cfg(test)]
mod tests;

//! Rules that no request meets, most often because of the order in which they stand.

use super::host::{lookup_form, without_port};
use super::path::{Covered, covered};
use super::{Ingress, Pattern, Rule};
use crate::audit::{Finding, Severity};

/// More rules of one host are compared each by itself only.
const MOST_TOGETHER: usize = 16;

pub(super) fn findings(ingress: &Ingress) -> Vec<Finding> {
    ingress.rules.iter().filter(|rule| !rule.broken()).filter_map(|rule| one(ingress, rule)).collect()
}

fn one(ingress: &Ingress, rule: &Rule) -> Option<Finding> {
    if hosts_refused(rule) {
        return None;
    }
    if !rule.hosts.possible() {
        return Some(no_such_host(ingress, rule));
    }
    if rule.pattern().is_some_and(Pattern::impossible) {
        let what = format!(
            "No request meets rule #{}: a path begins with a slash, and {} matches none that does.",
            rule.number,
            rule.path()
        );
        let bare = rule.path().trim_start_matches('^');
        let fix = format!("Begin with the slash:\npath: ^/{bare}");
        let why = format!("What is meant for {} goes elsewhere.", rule.written);
        return Some(ingress.finding(Severity::Error, "unreachable-rule", rule.line, [what, why, fix]));
    }
    let earlier: Vec<&Rule> = ingress.rules[..rule.number - 1]
        .iter()
        .filter(|earlier| !earlier.broken() && earlier.hosts.cover(&rule.hosts) && !early(ingress, earlier))
        .collect();
    if let Some(first) = earlier.iter().find(|earlier| takes(&[earlier], rule)) {
        return Some(shadowed(ingress, rule, first));
    }
    if (2..=MOST_TOGETHER).contains(&earlier.len()) && takes(&earlier, rule) {
        let mut needed = earlier;
        for rule_of in needed.clone() {
            let rest: Vec<&Rule> =
                needed.iter().copied().filter(|rule| rule.number != rule_of.number).collect();
            if takes(&rest, rule) {
                needed = rest;
            }
        }
        let earlier = needed;
        let numbers: Vec<String> = earlier.iter().map(|rule| format!("#{}", rule.number)).collect();
        let what = format!(
            "No request meets rule #{}: rules {} together take all of them.",
            rule.number,
            numbers.join(", ")
        );
        let severity = if earlier.iter().all(|earlier| earlier.same_service(rule)) {
            Severity::Warning
        } else {
            Severity::Error
        };
        let why = format!("Nothing gets to {} by it.", rule.written);
        let fix = format!("Move it before rule {}, or remove it.", numbers.first()?);
        return Some(ingress.finding(severity, "unreachable-rule", rule.line, [what, why, fix]));
    }
    None
}

/// As the next: cloudflared refuses it, which is said elsewhere.
fn hosts_refused(rule: &Rule) -> bool {
    without_port(rule.hostname()).is_some() || rule.hostname().rfind('*').is_some_and(|at| 0 < at)
}

fn early(ingress: &Ingress, rule: &Rule) -> bool {
    rule.catches_all() && rule.number < ingress.rules.len()
}

/// `earlier` match every path that `rule` does.
fn takes(earlier: &[&Rule], rule: &Rule) -> bool {
    let patterns: Vec<&Pattern> = earlier.iter().filter_map(|earlier| earlier.pattern()).collect();
    if patterns.len() < earlier.len() {
        return true;
    }
    // One path is compared sooner than all of them.
    let sample = rule.pattern().map_or(Some("/"), Pattern::sample);
    let likely = sample.is_some_and(|path| patterns.iter().any(|pattern| pattern.matches(path.as_bytes())));
    likely && covered(&patterns, rule.pattern()) == Covered::Yes
}

fn shadowed(ingress: &Ingress, rule: &Rule, first: &Rule) -> Finding {
    if rule.catches_all() {
        let what = format!("No request meets the last rule: {} takes all of them.", first.named());
        let why = format!(
            "Nothing gets to {} by it; what no other rule names goes to {}.",
            rule.written, first.written
        );
        let fix =
            format!("Give rule #{} a hostname, or make its service that of the last rule.", first.number);
        return ingress.finding(Severity::Warning, "shadowed-rule", first.line, [what, why, fix]);
    }
    let severity = if first.same_service(rule) { Severity::Warning } else { Severity::Error };
    let wider = !(rule.hosts.cover(&first.hosts) && takes(&[rule], first));
    let what = format!(
        "No request meets rule #{} ({}): {} comes first and takes all of them.",
        rule.number,
        rule.matches_text(),
        first.named()
    );
    let why = if severity == Severity::Warning {
        format!("Both go to {}, so it has no effect.", rule.written)
    } else {
        format!("They go to {} and not to {}.", first.written, rule.written)
    };
    if wider {
        let fix =
            format!("Move rule #{} before rule #{}: the narrower one first.", rule.number, first.number);
        return ingress.finding(severity, "rule-order", rule.line, [what, why, fix]);
    }
    let fix = "Remove one of the two.".to_owned();
    ingress.finding(severity, "shadowed-rule", rule.line, [what, why, fix])
}

fn no_such_host(ingress: &Ingress, rule: &Rule) -> Finding {
    let written = rule.hostname();
    let (star, name) = match written.strip_prefix("*.") {
        Some(name) => ("*.", name),
        None => ("", written.trim_start_matches('*')),
    };
    let name = name.trim_end_matches('.');
    let form = format!("{star}{}", lookup_form(name).unwrap_or_else(|| name.to_ascii_lowercase()));
    let because = if written.starts_with('*') && star.is_empty() {
        "a * stands for itself unless a dot follows it"
    } else if written.ends_with('.') {
        "requests name their host without the final dot"
    } else if written.is_ascii() && written.contains(|c: char| c.is_ascii_uppercase()) {
        "requests have small letters, and with a wildcard cloudflared compares letter by letter"
    } else if !written.is_ascii() {
        "requests have punycode, which cloudflared does not work out for a wildcard"
    } else {
        "no name is written like that"
    };
    let what = format!("No request meets rule #{}, {written}: {because}.", rule.number);
    let why = format!("What is meant for {} goes elsewhere.", rule.written);
    let fix = format!("Write it as requests have it:\nhostname: \"{form}\"");
    ingress.finding(Severity::Error, "unreachable-rule", rule.line, [what, why, fix])
}

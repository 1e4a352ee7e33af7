//! Paths that match more than was meant: not bound to the beginning, a dot that is any sign, a star as in file names.

use super::path::{Covered, covered};
use super::{Ingress, Pattern, Request, Rule};
use crate::audit::{Finding, Severity};

pub(super) fn findings(ingress: &Ingress) -> Vec<Finding> {
    let mut findings = Vec::new();
    for rule in &ingress.rules {
        let Some(pattern) = rule.pattern().filter(|pattern| !pattern.impossible()) else { continue };
        findings.extend(unbound(ingress, rule, pattern));
        findings.extend(dots(ingress, rule, pattern));
        findings.extend(star(ingress, rule, pattern));
    }
    findings
}

fn unbound(ingress: &Ingress, rule: &Rule, pattern: &Pattern) -> Option<Finding> {
    let bound = Pattern::compile(&format!("^(?:{})", pattern.text())).ok()?;
    let Covered::Not(shortest) = covered(&[&bound], Some(pattern)) else { return None };
    // Nothing that begins so: an ending is meant, such as \.html$.
    let meant = bound.sample()?;
    let likely = format!("/x{meant}");
    let fits = pattern.matches(likely.as_bytes()) && !bound.matches(likely.as_bytes());
    let example = if fits { likely } else { shortest };
    let what = format!(
        "The path of rule #{}, {}, is not bound to the beginning: {example} matches, too.",
        rule.number,
        pattern.text()
    );
    let (severity, why) = consequence(ingress, rule, &example)?;
    let fix = format!("Bind it to the beginning:\npath: {}", bound_text(pattern.text()));
    Some(ingress.finding(severity, "path-unbound", rule.line, [what, why, fix]))
}

/// Where the request goes, and where it would go without this match; `None` if a rule before takes it anyway.
fn consequence(ingress: &Ingress, rule: &Rule, path: &str) -> Option<(Severity, String)> {
    let request = Request::plain(&rule.hosts.sample()?, path);
    ingress.route(&request).filter(|hit| hit.rule.number == rule.number)?;
    let next = ingress.rules.iter().skip(rule.number).find(|next| next.miss(&request).is_none())?;
    if next.same_service(rule) {
        let why = format!("It makes no difference now: rule #{} goes to the same service.", next.number);
        return Some((Severity::Note, why));
    }
    let why =
        format!("It goes to {}; by rule #{} it would go to {}.", rule.written, next.number, next.written);
    Some((Severity::Warning, why))
}

/// Only signs that are themselves in a path, so that a whole segment is meant.
fn is_plain(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "/-_~.".contains(c))
}

fn bound_text(text: &str) -> String {
    let bare = text.strip_prefix('^').unwrap_or(text).trim_end_matches("/*").trim_end_matches('/');
    if is_plain(bare) && bare.starts_with('/') {
        return format!("^{}(/|$)", bare.replace('.', "\\."));
    }
    if text.starts_with('^') {
        return text.to_owned();
    }
    if text.contains('|') || text.starts_with("(?") { format!("^(?:{text})") } else { format!("^{text}") }
}

fn dots(ingress: &Ingress, rule: &Rule, pattern: &Pattern) -> Option<Finding> {
    let text = escaped_dots(pattern.text())?;
    let narrow = Pattern::compile(&text).ok()?;
    let Covered::Not(shortest) = covered(&[&narrow], Some(pattern)) else { return None };
    let likely = narrow.sample()?.replacen('.', "x", 1);
    let fits = pattern.matches(likely.as_bytes()) && !narrow.matches(likely.as_bytes());
    let example = if fits { likely } else { shortest };
    let what = format!(
        "A dot in the path of rule #{}, {}, stands for any sign: {example} matches, too.",
        rule.number,
        pattern.text()
    );
    let (_, why) = consequence(ingress, rule, &example)?;
    let fix = format!("Put a backslash before it:\npath: {text}");
    Some(ingress.finding(Severity::Note, "path-dot", rule.line, [what, why, fix]))
}

/// The same pattern with a backslash before each dot between letters or digits; `None` if there is no such dot.
fn escaped_dots(text: &str) -> Option<String> {
    let signs: Vec<char> = text.chars().collect();
    let mut escaped = String::new();
    let (mut class, mut found) = (false, false);
    for (at, c) in signs.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| signs.get(at));
        let backslash = before == Some(&'\\');
        match c {
            '[' if !backslash => class = true,
            ']' if !backslash => class = false,
            _ => {}
        }
        let word = |c: Option<&char>| c.is_some_and(char::is_ascii_alphanumeric);
        let second = at.checked_sub(2).and_then(|at| signs.get(at));
        // `\d.` and the like are no names of files.
        if *c == '.' && !class && word(before) && second != Some(&'\\') && word(signs.get(at + 1)) {
            escaped.push('\\');
            found = true;
        }
        escaped.push(*c);
    }
    found.then_some(escaped)
}

fn star(ingress: &Ingress, rule: &Rule, pattern: &Pattern) -> Option<Finding> {
    let text = pattern.text();
    let before = text.find("/*").map(|at| &text[..at])?;
    if before.ends_with('\\') || before.contains('[') {
        return None;
    }
    let what = format!(
        "The star in the path of rule #{}, {text}, repeats the slash before it; it does not stand for any text as in \
         file names.",
        rule.number
    );
    let why = format!("It means the same as {before}, followed by slashes or none.");
    let fix = format!("Write what is meant:\npath: {}", bound_text(text));
    Some(ingress.finding(Severity::Note, "path-star", rule.line, [what, why, fix]))
}

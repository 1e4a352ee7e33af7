//! Which hosts a rule is for, as cloudflared compares them: byte by byte, after one look at the punycode form.

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// The hosts of one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hosts {
    /// As written; empty or `*` is every host.
    written: String,
    /// The form that lookups have, if it is another. A rule with a wildcard has none.
    punycode: Option<String>,
}

impl Hosts {
    pub(super) fn of(written: &str) -> Self {
        let punycode = (!all(written)).then(|| lookup_form(written)).flatten();
        Self { written: written.to_owned(), punycode: punycode.filter(|form| form != written) }
    }

    pub(super) fn written(&self) -> &str {
        &self.written
    }

    pub(super) fn all(&self) -> bool {
        all(&self.written)
    }

    pub(super) fn matches(&self, host: &str) -> bool {
        self.all() || self.forms().any(|form| one(form, host))
    }

    fn forms(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.written.as_str()).chain(self.punycode.as_deref())
    }

    /// The forms that a visitor's request can have: small letters, digits and what names are made of.
    fn reachable(&self) -> impl Iterator<Item = &str> {
        self.forms().filter(|form| {
            let name = form.strip_prefix("*.").unwrap_or(form);
            !name.ends_with('.')
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        })
    }

    /// Some visitor's request can have such a host.
    pub(super) fn possible(&self) -> bool {
        self.all() || self.reachable().next().is_some()
    }

    /// Every host that visitors can ask `other` for is one of ours.
    pub(super) fn cover(&self, other: &Self) -> bool {
        if self.all() {
            return true;
        }
        if other.all() {
            return false;
        }
        other.reachable().all(|theirs| {
            self.forms().any(|ours| {
                ours == theirs
                    || ours.strip_prefix('*').is_some_and(|end| end.starts_with('.') && theirs.ends_with(end))
            })
        })
    }

    /// A host for which this rule is, as a visitor would ask for it.
    pub(super) fn sample(&self) -> Option<String> {
        if self.all() {
            return Some("any.example".to_owned());
        }
        let form = self.reachable().next()?;
        Some(match form.strip_prefix("*.") {
            Some(name) => format!("any.{name}"),
            None => form.to_owned(),
        })
    }
}

fn all(written: &str) -> bool {
    written.is_empty() || written == "*"
}

fn one(rule: &str, host: &str) -> bool {
    rule == host
        || rule
            .strip_prefix('*')
            .is_some_and(|end| end.starts_with('.') && host.as_bytes().ends_with(end.as_bytes()))
}

/// As names are looked up: small letters, punycode, nothing but letters, digits and hyphens.
pub(super) fn lookup_form(name: &str) -> Option<String> {
    let form = Uts46::new()
        .to_ascii(name.as_bytes(), AsciiDenyList::STD3, Hyphens::Check, DnsLength::Ignore)
        .ok()?;
    Some(form.into_owned())
}

/// The host before a port, if there is one.
pub(super) fn without_port(host: &str) -> Option<&str> {
    let colon = host.rfind(':')?;
    if let Some(inner) = host.strip_prefix('[') {
        let end = inner.find(']')?;
        let port = host.get(colon..).unwrap_or_default();
        let fits = end + 2 == colon && !inner.get(..end)?.contains('[') && !port.contains([']', '[']);
        return if fits { inner.get(..end) } else { None };
    }
    let (name, port) = (host.get(..colon)?, host.get(colon..)?);
    (!name.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some(name)
}

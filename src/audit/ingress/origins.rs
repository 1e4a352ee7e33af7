//! The services behind the rules, as they look from this host.

use super::{Ingress, Rule, Service};
use crate::audit::{Finding, Severity};

/// Where a rule's requests end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    Tcp {
        host: String,
        port: u16,
    },
    /// A socket's path.
    Unix(String),
}

/// What was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It takes connections; the program behind it was not asked.
    Answers,
    /// The name has no address.
    Unresolved(String),
    Refused,
    Silent,
    /// Any other error.
    Failed(String),
    /// It cannot be told from here, and why.
    Unknown(String),
}

impl Origin {
    /// A name that only the resolver of a cluster knows.
    pub fn in_a_cluster(&self) -> bool {
        match self {
            Self::Tcp { host, .. } => {
                let host = host.trim_end_matches('.').to_ascii_lowercase();
                [".svc", ".cluster.local"].iter().any(|end| host.ends_with(end)) || host.contains(".svc.")
            }
            Self::Unix(_) => false,
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => f.write_str(path),
        }
    }
}

impl Sight {
    /// As JSON says it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Answers => "answers",
            Self::Unresolved(_) => "unresolved",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Failed(_) => "failed",
            Self::Unknown(_) => "unknown",
        }
    }
}

impl Rule {
    /// Where its requests end, if that is a place that can be asked.
    pub fn origin(&self) -> Option<Origin> {
        match self.service.as_ref()? {
            Service::Http(address) | Service::Stream(address) => {
                Some(Origin::Tcp { host: address.host.clone(), port: address.port? })
            }
            Service::Unix { path, .. } => Some(Origin::Unix(path.clone())),
            Service::Status(_) | Service::HelloWorld | Service::SocksProxy | Service::Bastion => None,
        }
    }
}

pub(super) fn findings(ingress: &Ingress, sights: &[(Origin, Sight)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (origin, sight) in sights {
        let rules: Vec<&Rule> =
            ingress.rules.iter().filter(|rule| rule.origin().as_ref() == Some(origin)).collect();
        let Some(first) = rules.first() else { continue };
        let numbers: Vec<String> = rules.iter().map(|rule| format!("#{}", rule.number)).collect();
        let plural = if rules.len() == 1 { "" } else { "s" };
        let of = format!("rule{plural} {}", numbers.join(", "));
        let (id, what, fix) = match sight {
            Sight::Answers | Sight::Unknown(_) => continue,
            Sight::Unresolved(why) => (
                "origin-unresolved",
                format!("The origin {origin} of {of} has no address here: {why}."),
                "Correct the name, or make this host's resolver know it.",
            ),
            Sight::Refused => (
                "origin-refused",
                format!("The origin {origin} of {of} refuses the connection."),
                "Start what should listen there, or correct the port.",
            ),
            Sight::Silent => (
                "origin-silent",
                format!("The origin {origin} of {of} does not answer in time."),
                "Look for a firewall on the way, or for a wrong address.",
            ),
            Sight::Failed(why) => (
                "origin-failed",
                format!("The origin {origin} of {of} cannot be reached: {why}."),
                "Correct the service of the rule, or mend the way to it.",
            ),
        };
        let why = "Visitors get 502 for what these rules match.".to_owned();
        findings.push(ingress.finding(Severity::Warning, id, first.line, [what, why, fix.into()]));
    }
    findings
}

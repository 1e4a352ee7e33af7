//! Names, as this host's own resolver gives them, without a cache.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::{Instant, timeout};

/// How long the other family may keep addresses that are already known.
const GRACE: Duration = Duration::from_millis(500);

/// The configuration is looked at anew at most this often: a thousand names would read it thirty times a second.
const LOADED_FOR: Duration = Duration::from_secs(1);

/// Why a name was not resolved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsFailure {
    /// The name does not exist.
    #[error("no such name")]
    NxDomain,
    /// The name exists and has no record of this kind.
    #[error("no such record")]
    NoRecords,
    #[error("the resolver refuses to answer")]
    Refused,
    #[error("the resolver failed (SERVFAIL)")]
    ServFail,
    #[error("no answer from the resolver in time")]
    TimedOut,
    /// No usable name server is configured, or none can be reached.
    #[error("no resolver: {0}")]
    NoResolver(String),
    #[error("`{0}` is not a name")]
    BadName(String),
    #[error("unexpected answer: {0}")]
    Other(String),
}

impl DnsFailure {
    /// A word for logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::NxDomain => "nxdomain",
            Self::NoRecords => "no_records",
            Self::Refused => "refused",
            Self::ServFail => "servfail",
            Self::TimedOut => "timeout",
            Self::NoResolver(_) => "no_resolver",
            Self::BadName(_) => "bad_name",
            Self::Other(_) => "other",
        }
    }
}

/// A service location (SRV record).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Location {
    pub priority: u16,
    pub weight: u16,
    /// Without the final dot.
    pub target: String,
    pub port: u16,
}

/// The addresses of a name and the aliases on the way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4 before IPv6, each in the resolver's order.
    pub addresses: Vec<IpAddr>,
    /// CNAME targets in order, without the final dot; empty for a name that is none or is flattened.
    pub aliases: Vec<String>,
    /// How long the records may be kept: the least of their times to live.
    pub valid_for: Duration,
}

/// Asks the name servers of `/etc/resolv.conf`, which is read again when it has changed.
pub struct Dns {
    source: Source,
    loaded: Mutex<Option<Loaded>>,
}

enum Source {
    File(PathBuf),
    Fixed(Box<TokioResolver>),
}

#[derive(Clone)]
struct Loaded {
    /// Last compared with the files.
    at: Instant,
    text: Vec<u8>,
    hosts: Vec<u8>,
    resolver: TokioResolver,
}

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dns").finish_non_exhaustive()
    }
}

impl Dns {
    /// As this system is configured.
    pub fn system() -> Self {
        Self::from_file("/etc/resolv.conf".into())
    }

    /// Configured by a file in the form of `/etc/resolv.conf`.
    pub fn from_file(path: PathBuf) -> Self {
        Self { source: Source::File(path), loaded: Mutex::new(None) }
    }

    /// Asks these servers only, over UDP and TCP.
    ///
    /// # Errors
    /// The resolver cannot be built.
    pub fn with_servers(servers: &[SocketAddr]) -> Result<Self, DnsFailure> {
        let servers = servers
            .iter()
            .map(|server| {
                let mut one = hickory_resolver::config::NameServerConfig::udp_and_tcp(server.ip());
                for connection in &mut one.connections {
                    connection.port = server.port();
                }
                one
            })
            .collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let resolver = build(config, ResolverOpts::default())?;
        Ok(Self { source: Source::Fixed(Box::new(resolver)), loaded: Mutex::new(None) })
    }

    /// The locations of a service, best first.
    ///
    /// # Errors
    /// See [`DnsFailure`].
    pub async fn srv(&self, name: &str, limit: Duration) -> Result<Vec<Location>, DnsFailure> {
        let lookup = self.lookup(name, RecordType::SRV, limit).await?;
        let mut found: Vec<Location> = lookup
            .answers()
            .iter()
            .filter_map(|record| {
                let RData::SRV(srv) = &record.data else { return None };
                Some(Location {
                    priority: srv.priority,
                    weight: srv.weight,
                    target: plain(&srv.target),
                    port: srv.port,
                })
            })
            .collect();
        found.sort();
        if found.is_empty() { Err(DnsFailure::NoRecords) } else { Ok(found) }
    }

    /// IPv4 and IPv6 addresses, asked for together. One family is enough.
    ///
    /// # Errors
    /// See [`DnsFailure`]; of the two families' failures, the graver.
    pub async fn addresses(&self, name: &str, limit: Duration) -> Result<Addresses, DnsFailure> {
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok(Addresses { addresses: vec![address], aliases: Vec::new(), valid_for: Duration::MAX });
        }
        let mut four = pin!(self.lookup(name, RecordType::A, limit));
        let mut six = pin!(self.lookup(name, RecordType::AAAA, limit));
        // A resolver that swallows one kind of question must not make the name look dead.
        let (four, six) = tokio::select! {
            four = &mut four => {
                let wait = if four.is_ok() { GRACE.min(limit) } else { limit };
                (four, timeout(wait, six).await.unwrap_or(Err(DnsFailure::TimedOut)))
            }
            six = &mut six => {
                let wait = if six.is_ok() { GRACE.min(limit) } else { limit };
                (timeout(wait, four).await.unwrap_or(Err(DnsFailure::TimedOut)), six)
            }
        };
        let mut found = Addresses { valid_for: Duration::MAX, ..Addresses::default() };
        for lookup in [&four, &six].into_iter().flatten() {
            found.add(lookup);
        }
        match (found.addresses.is_empty(), four, six) {
            (false, _, _) => Ok(found),
            (true, Err(DnsFailure::NoRecords), Err(other)) => Err(other),
            (true, Err(failure), _) | (true, Ok(_), Err(failure)) => Err(failure),
            (true, Ok(_), Ok(_)) => Err(DnsFailure::NoRecords),
        }
    }

    /// The name that this one is an alias of, whether or not that leads anywhere.
    ///
    /// # Errors
    /// [`DnsFailure::NoRecords`] for a name that is no alias; else see [`DnsFailure`].
    pub async fn alias(&self, name: &str, limit: Duration) -> Result<String, DnsFailure> {
        let lookup = self.lookup(name, RecordType::CNAME, limit).await?;
        let target = lookup.answers().iter().find_map(|record| {
            let RData::CNAME(target) = &record.data else { return None };
            Some(plain(&target.0))
        });
        target.ok_or(DnsFailure::NoRecords)
    }

    async fn lookup(&self, name: &str, kind: RecordType, limit: Duration) -> Result<Lookup, DnsFailure> {
        // A full name: search domains of the host must not turn a missing name into another one.
        let mut full = Name::from_ascii(name).map_err(|_| DnsFailure::BadName(shown(name)))?;
        full.set_fqdn(true);
        let resolver = self.resolver()?;
        match timeout(limit, resolver.lookup(full, kind)).await {
            Ok(Ok(lookup)) => Ok(lookup),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(DnsFailure::TimedOut),
        }
    }

    fn resolver(&self) -> Result<TokioResolver, DnsFailure> {
        let path = match &self.source {
            Source::Fixed(resolver) => return Ok(resolver.as_ref().clone()),
            Source::File(path) => path,
        };
        let mut loaded = self.loaded.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(known) = loaded.as_ref().filter(|known| known.at.elapsed() < LOADED_FOR) {
            return Ok(known.resolver.clone());
        }
        let text = std::fs::read(path)
            .map_err(|e| DnsFailure::NoResolver(format!("cannot read {}: {e}", path.display())))?;
        // The resolver keeps the hosts file it saw when it was built.
        let hosts = std::fs::read("/etc/hosts").unwrap_or_default();
        let at = Instant::now();
        if let Some(known) = loaded.as_mut().filter(|known| known.text == text && known.hosts == hosts) {
            known.at = at;
            return Ok(known.resolver.clone());
        }
        let (config, options) = hickory_resolver::system_conf::parse_resolv_conf(&text)
            .map_err(|e| DnsFailure::NoResolver(format!("{}: {e}", path.display())))?;
        let resolver = build(config, options)?;
        *loaded = Some(Loaded { at, text, hosts, resolver: resolver.clone() });
        Ok(resolver)
    }
}

/// For HTTP clients that look up names by themselves.
pub(super) struct Names {
    pub(super) dns: Arc<Dns>,
    pub(super) limit: Duration,
}

impl reqwest::dns::Resolve for Names {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let (dns, limit) = (Arc::clone(&self.dns), self.limit);
        Box::pin(async move {
            let found = dns.addresses(name.as_str(), limit).await?;
            // Port 0 stands for the URL's own.
            let addresses = found.addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as reqwest::dns::Addrs)
        })
    }
}

impl Addresses {
    #[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; the rest means nothing to us")]
    fn add(&mut self, lookup: &Lookup) {
        for record in lookup.answers() {
            self.valid_for = self.valid_for.min(Duration::from_secs(u64::from(record.ttl)));
            match &record.data {
                RData::A(a) => self.addresses.push(IpAddr::V4(a.0)),
                RData::AAAA(a) => self.addresses.push(IpAddr::V6(a.0)),
                RData::CNAME(target) => {
                    let target = plain(&target.0);
                    if !self.aliases.contains(&target) {
                        self.aliases.push(target);
                    }
                }
                _ => {}
            }
        }
    }
}

fn build(config: ResolverConfig, mut options: ResolverOpts) -> Result<TokioResolver, DnsFailure> {
    options.cache_size = 0;
    options.preserve_intermediates = true;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(|e| DnsFailure::NoResolver(shown(&e.to_string())))
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; the rest means nothing to us")]
fn failure(error: &NetError) -> DnsFailure {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) if none.response_code == ResponseCode::NXDomain => {
            DnsFailure::NxDomain
        }
        NetError::Dns(DnsError::NoRecordsFound(none)) => code(none.response_code),
        NetError::Dns(DnsError::ResponseCode(response)) => code(*response),
        NetError::Timeout => DnsFailure::TimedOut,
        NetError::NoConnections => DnsFailure::NoResolver("none answers".into()),
        NetError::Io(error) if error.kind() == std::io::ErrorKind::TimedOut => DnsFailure::TimedOut,
        NetError::Io(error) => DnsFailure::NoResolver(shown(&error.to_string())),
        other => DnsFailure::Other(shown(&other.to_string())),
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum; the rest means nothing to us")]
fn code(response: ResponseCode) -> DnsFailure {
    match response {
        ResponseCode::NoError => DnsFailure::NoRecords,
        ResponseCode::NXDomain => DnsFailure::NxDomain,
        ResponseCode::Refused => DnsFailure::Refused,
        ResponseCode::ServFail => DnsFailure::ServFail,
        other => DnsFailure::Other(shown(&other.to_string())),
    }
}

fn plain(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_ascii_lowercase()
}

/// Foreign text, short and printable.
fn shown(text: &str) -> String {
    text.chars().take(120).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
pub(crate) mod tests;

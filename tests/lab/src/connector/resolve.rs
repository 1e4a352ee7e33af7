//! Finding the edge through the host's resolver, once per process, with Go's words for its failures.

use std::{net::SocketAddr, time::Duration};

use hickory_resolver::{
    TokioResolver,
    config::LookupIpStrategy,
    net::{DnsError, NetError},
    proto::{
        op::ResponseCode,
        rr::{RData, RecordType},
    },
};
use tokio::{net::UdpSocket, time::timeout};

use super::log::{Level, Log};

const SRV_NAME: &str = "_v2-origintunneld._tcp.argotunnel.com";
const FEATURES_NAME: &str = "cfd-features.argotunnel.com";
const PROTOCOL_NAME: &str = "protocol-v2.argotunnel.com";
/// Go asks twice for 5 s.
const WAIT: Duration = Duration::from_secs(10);

/// The host's resolver.
pub struct Names {
    resolver: Option<TokioResolver>,
    server: String,
    log: Log,
}

impl Names {
    pub fn new(log: Log) -> Self {
        let server = std::fs::read_to_string("/etc/resolv.conf").ok().and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("nameserver"))?;
            Some(line.split_whitespace().nth(1)?.to_owned())
        });
        let resolver = TokioResolver::builder_tokio().ok().and_then(|mut builder| {
            let options = builder.options_mut();
            (options.timeout, options.attempts) = (Duration::from_secs(5), 2);
            (options.cache_size, options.edns0) = (0, false);
            options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
            builder.build().ok()
        });
        Self { resolver, server: server.unwrap_or_else(|| "127.0.0.1".into()), log }
    }

    /// The lookups of the feature and protocol records. Their absence is nothing in a lab, but a resolver
    /// that fails shows here first, and costs time.
    ///
    /// Returns whether the resolver failed.
    pub async fn ask_features(&self) -> bool {
        let error = self.failure(FEATURES_NAME).await;
        if let Some(error) = &error {
            self.log.error("Failed to fetch features, default to disable", error, vec![]);
        }
        error.is_some()
    }

    pub async fn ask_protocol(&self) -> bool {
        let failed = self.failure(PROTOCOL_NAME).await.is_some();
        if failed {
            self.log.write(Level::Warn, "Unable to lookup protocol percentage.", vec![]);
        }
        failed
    }

    async fn failure(&self, name: &str) -> Option<String> {
        match self.lookup(name, RecordType::TXT).await {
            Err(Failure { text, absent: false }) => Some(text),
            Ok(_) | Err(Failure { .. }) => None,
        }
    }

    /// The addresses of both regions.
    ///
    /// # Errors
    /// The text of `Initiating shutdown`.
    pub async fn edge(&self) -> Result<[Vec<SocketAddr>; 2], String> {
        let records = match self.lookup(SRV_NAME, RecordType::SRV).await {
            Ok(records) => records,
            Err(failure) => {
                self.advise(&failure.text);
                return Err(format!("Could not lookup srv records on {SRV_NAME}: {}", failure.text));
            }
        };
        let mut regions = Vec::new();
        for record in records {
            let RData::SRV(srv) = record else { continue };
            let target = srv.target.to_utf8();
            let shown = format!("&{{{target} {} {} {}}}", srv.port, srv.priority, srv.weight);
            let found = self.addresses(&target, srv.port).await;
            let found =
                found.map_err(|failure| format!("Couldn't resolve SRV record {shown}: {}", failure.text))?;
            if found.is_empty() {
                return Err(format!("SRV record {shown} had no IPs"));
            }
            regions.push((target, found));
        }
        regions.sort();
        let mut regions = regions.into_iter().map(|(_, addresses)| addresses);
        match (regions.next(), regions.next()) {
            (Some(one), Some(two)) => Ok([one, two]),
            (one, _) => Err(format!(
                "expected at least 2 Cloudflare Regions regions, but SRV only returned {}",
                usize::from(one.is_some())
            )),
        }
    }

    /// A region's addresses; IPv4 where there are any, as most resolvers list them first.
    async fn addresses(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
        let mut records = self.lookup(name, RecordType::A).await;
        if records.as_ref().is_ok_and(Vec::is_empty) || records.as_ref().is_err_and(|failure| failure.absent)
        {
            records = self.lookup(name, RecordType::AAAA).await;
        }
        let address = |record| match record {
            RData::A(address) => Some(SocketAddr::new(address.0.into(), port)),
            RData::AAAA(address) => Some(SocketAddr::new(address.0.into(), port)),
            _ => None,
        };
        Ok(records?.into_iter().filter_map(address).collect())
    }

    async fn lookup(&self, name: &str, kind: RecordType) -> Result<Vec<RData>, Failure> {
        let failure = |reason: &str| Failure {
            text: format!("lookup {} on {}:53: {reason}", name.trim_end_matches('.'), self.server),
            absent: reason == "no such host",
        };
        let Some(resolver) = &self.resolver else { return Err(failure("no such host")) };
        let full = format!("{}.", name.trim_end_matches('.'));
        let looked_up = tokio::select! {
            looked_up = timeout(WAIT, resolver.lookup(full, kind)) => looked_up,
            reason = self.closed_port() => return Err(failure(&reason)),
        };
        match looked_up {
            Ok(Ok(lookup)) => Ok(lookup.answers().iter().map(|record| record.data.clone()).collect()),
            Ok(Err(error)) => Err(failure(&self.go_dns(&error))),
            Err(_) => Err(failure(&self.timed_out())),
        }
    }

    /// Resolves when the kernel says that nothing listens, which the resolver's own socket does not hear.
    async fn closed_port(&self) -> String {
        let probe = async {
            let server = SocketAddr::new(self.server.parse().ok()?, 53);
            let any: SocketAddr = if server.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
            let socket = UdpSocket::bind(any).await.ok()?;
            socket.connect(server).await.ok()?;
            // Too short to be a question, so that no server answers it.
            socket.send(&[0]).await.ok()?;
            match socket.recv(&mut [0; 16]).await {
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => Some(format!(
                    "read udp {}->{server}: read: connection refused",
                    socket.local_addr().ok()?
                )),
                Ok(_) | Err(_) => None,
            }
        };
        match probe.await {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    fn go_dns(&self, error: &NetError) -> String {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(_)) => "no such host".into(),
            NetError::Dns(DnsError::ResponseCode(ResponseCode::NXDomain)) => "no such host".into(),
            NetError::Dns(_) => "server misbehaving".into(),
            _ => self.timed_out(),
        }
    }

    fn timed_out(&self) -> String {
        format!("read udp 0.0.0.0:0->{}:53: i/o timeout", self.server)
    }

    fn advise(&self, error: &str) {
        let event = || ("event", 0.into());
        let headline = "edge discovery: error looking up Cloudflare edge IPs: the DNS query failed";
        self.log.error(headline, error, vec![event()]);
        for line in [
            "Please try the following things to diagnose this issue:",
            "  1. ensure that argotunnel.com is returning \"origintunneld\" service records.",
            "     Run your system's equivalent of: dig srv _origintunneld._tcp.argotunnel.com",
            "  2. ensure that your DNS resolver is not returning compressed SRV records.",
            "     See GitHub issue https://github.com/golang/go/issues/27546",
            "     For example, you could use Cloudflare's 1.1.1.1 as your resolver:",
            "     https://developers.cloudflare.com/1.1.1.1/setting-up-1.1.1.1/",
        ] {
            self.log.write(Level::Error, line, vec![event()]);
        }
    }
}

struct Failure {
    text: String,
    /// The resolver works and says that there is no such record.
    absent: bool,
}

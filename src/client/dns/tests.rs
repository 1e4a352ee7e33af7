use std::net::Ipv4Addr;

use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::Record;
use hickory_resolver::proto::rr::rdata::{A, CNAME, SRV};
use tokio::net::UdpSocket;

use super::*;

const LIMIT: Duration = Duration::from_secs(3);

pub(crate) type Reply = Option<Result<Vec<RData>, ResponseCode>>;

/// A name server on loopback; `zone` answers name and kind, or `None` for silence.
pub(crate) async fn server(zone: impl Fn(&str, RecordType) -> Reply + Send + 'static) -> Dns {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        while let Ok((n, peer)) = socket.recv_from(&mut buffer).await {
            let asked = Message::from_vec(&buffer[..n]).unwrap();
            let query = asked.queries[0].clone();
            let Some(answer) = zone(&plain(query.name()), query.query_type()) else { continue };
            let mut reply = Message::response(asked.metadata.id, asked.metadata.op_code);
            reply.add_query(query.clone());
            match answer {
                Ok(records) => {
                    let mut owner = query.name().clone();
                    for data in records {
                        let next =
                            if let RData::CNAME(target) = &data { Some(target.0.clone()) } else { None };
                        reply.add_answer(Record::from_rdata(owner.clone(), 60, data));
                        owner = next.unwrap_or(owner);
                    }
                }
                Err(code) => reply.metadata.response_code = code,
            }
            socket.send_to(&reply.to_vec().unwrap(), peer).await.unwrap();
        }
    });
    Dns::with_servers(&[address]).unwrap()
}

fn a(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(198, 51, 100, last)))
}

pub(crate) fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

#[tokio::test]
async fn locations_best_first() {
    let dns = server(|_, kind| {
        let srv = |priority, target| RData::SRV(SRV::new(priority, 1, 7844, name(target)));
        (kind == RecordType::SRV)
            .then(|| Ok(vec![srv(2, "region2.v2.argotunnel.com"), srv(1, "Region1.v2.argotunnel.com")]))
    })
    .await;
    let found = dns.srv("_v2-origintunneld._tcp.argotunnel.com", LIMIT).await.unwrap();
    let targets: Vec<_> = found.iter().map(|l| (l.target.as_str(), l.port)).collect();
    assert_eq!(targets, [("region1.v2.argotunnel.com", 7844), ("region2.v2.argotunnel.com", 7844)]);
}

#[tokio::test]
async fn addresses_and_aliases() {
    let dns = server(|asked, kind| {
        let alias = RData::CNAME(CNAME(name("0e9a4f7c.cfargotunnel.com")));
        Some(match (asked, kind) {
            ("plain.test", RecordType::A) => Ok(vec![a(1), a(2)]),
            ("grey.test", RecordType::A) => Ok(vec![alias, a(3)]),
            _ => Ok(vec![]),
        })
    })
    .await;
    let found = dns.addresses("plain.test", LIMIT).await.unwrap();
    assert_eq!(found.addresses.len(), 2);
    assert!(found.aliases.is_empty());
    let found = dns.addresses("grey.test", LIMIT).await.unwrap();
    assert_eq!(found.addresses, [IpAddr::from([198, 51, 100, 3])]);
    assert_eq!(found.aliases, ["0e9a4f7c.cfargotunnel.com"]);
    assert_eq!(dns.addresses("other.test", LIMIT).await, Err(DnsFailure::NoRecords));
    let literal = dns.addresses("[2001:db8::1]", LIMIT).await.unwrap();
    assert_eq!(literal.addresses, ["2001:db8::1".parse::<IpAddr>().unwrap()]);
}

#[tokio::test]
async fn failures() {
    let dns = server(|asked, _| match asked {
        "gone.test" => Some(Err(ResponseCode::NXDomain)),
        "refused.test" => Some(Err(ResponseCode::Refused)),
        "broken.test" => Some(Err(ResponseCode::ServFail)),
        _ => None,
    })
    .await;
    assert_eq!(dns.addresses("gone.test", LIMIT).await, Err(DnsFailure::NxDomain));
    assert_eq!(dns.addresses("refused.test", LIMIT).await, Err(DnsFailure::Refused));
    assert_eq!(dns.addresses("broken.test", LIMIT).await, Err(DnsFailure::ServFail));
    let short = Duration::from_millis(200);
    assert_eq!(dns.addresses("silent.test", short).await, Err(DnsFailure::TimedOut));
    let bad = dns.addresses("not a name..", LIMIT).await;
    assert!(matches!(bad, Err(DnsFailure::BadName(_))), "{bad:?}");
}

#[tokio::test]
async fn one_family_is_enough() {
    let dns = server(|asked, kind| match (asked, kind) {
        ("four.test", RecordType::A) => Some(Ok(vec![a(1)])),
        ("half.test", RecordType::A) => Some(Ok(vec![])),
        _ => None,
    })
    .await;
    let start = tokio::time::Instant::now();
    assert_eq!(dns.addresses("four.test", LIMIT).await.unwrap().addresses.len(), 1);
    assert!(start.elapsed() < Duration::from_secs(2));
    let half = dns.addresses("half.test", Duration::from_millis(300)).await;
    assert_eq!(half, Err(DnsFailure::TimedOut));
}

#[tokio::test]
async fn the_configuration_is_read_again() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let dns = Dns::from_file(file.path().to_owned());
    let none = dns.addresses("x.test", LIMIT).await;
    assert!(matches!(none, Err(DnsFailure::NoResolver(_))), "{none:?}");
    // Nothing listens on port 53 of this loopback address.
    std::fs::write(file.path(), "nameserver 127.1.2.3\n").unwrap();
    tokio::time::sleep(LOADED_FOR).await;
    let dead = dns.addresses("x.test", LIMIT).await;
    assert!(matches!(dead, Err(DnsFailure::NoResolver(_) | DnsFailure::TimedOut)), "{dead:?}");
    assert_ne!(dead, none, "the new server was not asked");
}

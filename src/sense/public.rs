//! The public names, as a visitor gets them.

use std::time::Duration;

use crate::client::http::{
    Answer as Seen, BlindReason, ControlSight, Known, PublicClient, PublicSight, PublicTarget,
};
use crate::warden::evidence::{Answer, Blind, Control, Exchange, NameSight};

/// Looks at one name; `known` is what its last look left.
pub async fn look(
    client: &PublicClient,
    target: &PublicTarget,
    known: &mut Known,
    limit: Duration,
) -> NameSight {
    sight(client.look(target, known, limit).await)
}

/// A look that took longer than its frame allows.
pub fn too_long(limit: Duration) -> NameSight {
    let detail = "took too long".into();
    let (answer, exchange) = (Answer::Blind, Exchange::default());
    NameSight { answer, status: None, code: None, latency: limit, colo: None, detail, exchange }
}

/// Asks the control names in turn until one answers: is our own way out working?
pub async fn control(
    client: &PublicClient,
    targets: &[PublicTarget],
    limit: Duration,
) -> Result<Control, Blind> {
    let each = limit / u32::try_from(targets.len().max(1)).unwrap_or(1);
    let mut seen = Err(Blind::NotFound);
    for target in targets {
        match client.control(&target.url, each).await {
            ControlSight::Answered => return Ok(Control::Answered),
            ControlSight::Failing(_) => seen = Ok(Control::Failing),
            ControlSight::Blind(why, _) if seen.is_err() => seen = Err(blind(why)),
            ControlSight::Blind(..) => (),
        }
    }
    seen
}

fn sight(seen: PublicSight) -> NameSight {
    let PublicSight {
        answer,
        status,
        code,
        detail,
        colo,
        latency,
        http_version,
        certificate_expiry,
        phases,
        marks: _,
    } = seen;
    let exchange = Exchange {
        dns: phases.dns,
        tcp: phases.tcp,
        tls: phases.tls,
        first_byte: phases.first_byte,
        http: http_version.map(str::to_owned),
        certificate_expiry,
    };
    NameSight { answer: said(answer), status, code, latency, colo, detail, exchange }
}

/// The same in the warden's words.
pub fn said(answer: Seen) -> Answer {
    match answer {
        Seen::Served => Answer::Served,
        Seen::TunnelError => Answer::TunnelError,
        Seen::DnsError => Answer::DnsError,
        Seen::EdgeError => Answer::EdgeError,
        Seen::OriginError => Answer::OriginError,
        Seen::Access => Answer::Access,
        Seen::Challenge => Answer::Challenge,
        Seen::Cached => Answer::Cached,
        Seen::Unexpected => Answer::Unexpected,
        Seen::Blind(_) => Answer::Blind,
    }
}

fn blind(why: BlindReason) -> Blind {
    match why {
        BlindReason::Timeout => Blind::TimedOut,
        BlindReason::NotEdge | BlindReason::Garbled => Blind::Garbled,
        BlindReason::BadTarget => Blind::NotFound,
        BlindReason::Dns | BlindReason::Connect | BlindReason::Tls | BlindReason::CertificateDates => {
            Blind::Unreachable
        }
    }
}

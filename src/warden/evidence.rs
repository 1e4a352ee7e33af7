//! What was seen, kept with its time; nothing here concludes.

use core::net::IpAddr;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use super::name::{Elsewhere, Exchange, NameSight, NameTrack};
use super::route::{RouteSight, RouteTrack};
use super::time::Now;

/// What a probe saw, or why it could not look. Blindness is never illness.
pub type Seen<T> = Result<T, Blind>;

/// Why a sense could not look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Blind {
    /// Nothing was asked yet.
    NotYet,
    /// The question took longer than its limit.
    TimedOut,
    /// We may not read it.
    Forbidden,
    /// The place to look is not known.
    NotFound,
    /// The other end, or the way to it, is not there.
    Unreachable,
    /// It answered something that makes no sense.
    Garbled,
}

impl Blind {
    /// The reason in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::NotYet => "not looked yet",
            Self::TimedOut => "took too long",
            Self::Forbidden => "not permitted",
            Self::NotFound => "place not known",
            Self::Unreachable => "cannot be reached",
            Self::Garbled => "answer makes no sense",
        }
    }
}

/// Our senses, one word each as users see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sense {
    Unit,
    Journal,
    Ready,
    Public,
    Control,
    Edge,
    Dns,
    Tunnel,
    Host,
}

impl Sense {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 9] = [
        Self::Unit,
        Self::Journal,
        Self::Ready,
        Self::Public,
        Self::Control,
        Self::Edge,
        Self::Dns,
        Self::Tunnel,
        Self::Host,
    ];

    /// The word in labels and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unit => "unit",
            Self::Journal => "journal",
            Self::Ready => "ready",
            Self::Public => "public",
            Self::Control => "control",
            Self::Edge => "edge",
            Self::Dns => "dns",
            Self::Tunnel => "tunnel",
            Self::Host => "host",
        }
    }
}

/// The two transports of a connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Transport {
    Quic,
    Http2,
}

impl Transport {
    /// The word that cloudflared and our labels use.
    pub fn word(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Http2 => "http2",
        }
    }
}

/// `ActiveState` of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Active {
    Active,
    Activating,
    Deactivating,
    Inactive,
    Failed,
    /// A state we do not know the meaning of (reloading, maintenance, one of the future).
    Other,
}

/// `LoadState` of a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    Loaded,
    NotFound,
    Masked,
    /// `bad-setting`, `error`: systemd cannot use the file.
    Broken,
}

/// A job of systemd.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Job {
    Start,
    Stop,
    Restart,
    Other,
}

/// An `InvocationID`: one life of a unit.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Invocation(pub u128);

impl fmt::Display for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What systemd says of a unit, all at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSight {
    pub load: Load,
    /// `UnitFileState` is `disabled` or `masked`.
    pub disabled: bool,
    pub active: Active,
    /// `SubState` as systemd words it; shown, and read for `auto-restart` and `stop-sigterm`.
    pub sub: String,
    /// `Result` as systemd words it.
    pub result: String,
    /// Exit status of the main process if it exited by itself (not by a signal).
    pub exit_status: Option<i32>,
    pub main_pid: u32,
    pub invocation: Option<Invocation>,
    /// Automatic restarts; goes back to 0 at a manual one.
    pub n_restarts: u32,
    pub job: Option<Job>,
    /// The cgroup is frozen by `systemctl freeze`.
    pub frozen: bool,
    /// The state has held since (time since boot).
    pub since: Duration,
    /// The main process started at (time since boot), if it did in this boot.
    pub started: Option<Duration>,
    /// Was active at some time in this boot.
    pub was_active: bool,
    /// `TimeoutStartUSec`; `None` is infinity.
    pub start_limit: Option<Duration>,
    /// `TimeoutStopUSec`; `None` is infinity.
    pub stop_limit: Option<Duration>,
    /// `StartLimitBurst` and `StartLimitIntervalUSec`; `None` where switched off.
    pub start_rate: Option<(u32, Duration)>,
}

impl UnitSight {
    /// systemd is in the middle of bringing it up again by itself.
    pub fn restarting(&self) -> bool {
        self.active == Active::Activating && self.sub.starts_with("auto-restart")
    }

    /// systemd has a main process up: running, or (with a unit that may start for ever) starting.
    pub fn up(&self) -> bool {
        self.active == Active::Active && self.main_pid != 0
    }
}

/// cloudflared's `/ready`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ready {
    /// It holds this many connections to the edge.
    Connections(u8),
    /// Nothing listens on the port that we know: look for it again.
    Refused,
    /// The port accepts and nothing comes back.
    Silent,
}

/// One look at cloudflared's own port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadySight {
    pub ready: Ready,
    /// Of the running process, if it said so.
    pub connector: Option<String>,
    /// The port was named by this invocation's own journal, or matched to its process.
    pub port_of_this_life: bool,
    pub counters: Option<Counters>,
}

/// Counters of cloudflared's `/metrics`; they start at 0 with each process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub total_requests: u64,
    pub request_errors: u64,
    pub register_success: u64,
    pub register_fail: u64,
}

/// What a look at a public name found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Answer {
    /// The origin's own answer, through the tunnel.
    Served,
    /// Error 1033.
    TunnelError,
    /// Error 1016.
    DnsError,
    /// Another error that the edge made.
    EdgeError,
    /// The origin, or the connector for it, says it is down (502, 503, 504).
    OriginError,
    /// Cloudflare Access asks for a login: the edge works, the tunnel is not proven.
    Access,
    /// The probe itself was challenged, limited or banned.
    Challenge,
    /// Answered by a cache.
    Cached,
    /// Not what `[[tunnel.probe]]` says that the origin answers.
    Unexpected,
    /// The probe could not look.
    Blind,
}

impl Answer {
    /// All of them, in the order in which they are shown.
    pub const ALL: [Self; 10] = [
        Self::Served,
        Self::TunnelError,
        Self::DnsError,
        Self::EdgeError,
        Self::OriginError,
        Self::Access,
        Self::Challenge,
        Self::Cached,
        Self::Unexpected,
        Self::Blind,
    ];

    /// The word in labels and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::TunnelError => "tunnel_error",
            Self::DnsError => "dns_error",
            Self::EdgeError => "edge_error",
            Self::OriginError => "origin_error",
            Self::Access => "access",
            Self::Challenge => "challenge",
            Self::Cached => "cached",
            Self::Unexpected => "unexpected",
            Self::Blind => "blind",
        }
    }

    /// It says something about the way of a visitor.
    pub fn conclusive(self) -> bool {
        match self {
            Self::Served
            | Self::TunnelError
            | Self::DnsError
            | Self::EdgeError
            | Self::OriginError
            | Self::Unexpected => true,
            Self::Access | Self::Challenge | Self::Cached | Self::Blind => false,
        }
    }
}

/// The control probe: is this host's own way out working?
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    Answered,
    Failing,
}

/// Whether a dial got through.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reach {
    Reachable,
    /// Answered by a reset or a refusal.
    Refused,
    TimedOut,
    /// No route, or this host's own firewall.
    Unreachable,
    /// Connected and then nothing came back.
    Silent,
    /// The handshake was broken off.
    BrokenOff,
}

/// One dial to one region by one transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    pub region: String,
    pub transport: Transport,
    pub reach: Reach,
}

/// Our own dial to the edge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EdgeSight {
    /// The edge's names resolved just now, not from our memory.
    pub resolved: bool,
    pub links: Vec<Link>,
    /// What the edge's names give just now; empty if they do not resolve.
    pub addresses: Vec<IpAddr>,
    /// The certificate was refused because of its dates: our clock, or an interceptor.
    pub clock_suspect: bool,
}

impl EdgeSight {
    /// At least one region answers on this transport.
    pub fn reachable(&self, transport: Transport) -> bool {
        self.links.iter().any(|l| l.transport == transport && l.reach == Reach::Reachable)
    }

    /// It was tried on this transport and no region answered.
    pub fn dead(&self, transport: Transport) -> bool {
        self.links.iter().any(|l| l.transport == transport) && !self.reachable(transport)
    }

    /// Nothing answers on any transport.
    pub fn all_dead(&self) -> bool {
        !self.links.is_empty() && self.links.iter().all(|l| l.reach != Reach::Reachable)
    }

    /// It connects, and then never says anything.
    pub fn unresponsive(&self) -> bool {
        self.all_dead() && self.links.iter().any(|l| l.reach == Reach::Silent)
    }
}

/// The host around us.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostSight {
    /// A default route exists, by IPv4 or IPv6.
    pub route: bool,
    /// The system is going down.
    pub shutting_down: bool,
    /// A package manager, or `cloudflared update`, is at work.
    pub upgrading: bool,
    /// Nothing keeps the clock right; looked at only in trouble.
    #[serde(default)]
    pub unsynchronised: bool,
    /// The configured window for remedies is shut until then (time since boot).
    pub window_shut_until: Option<Duration>,
}

/// The files that the next process would read; only what `stat` and a world-readable config say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesSight {
    /// Why the next start would fail, in words that name the file.
    pub unusable: Option<String>,
    /// The newest change of a credentials, token or config file, Unix time.
    pub changed: Option<Duration>,
}

/// Fixed things about the connector's set-up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Transport forced by flag, environment or config; `None` is `auto`.
    pub transport: Option<Transport>,
    /// Private-network routing is on, so that connections may carry what no public probe sees.
    pub private_network: Option<bool>,
    /// It connects elsewhere than we dial: another region, or addresses set by hand.
    pub other_edge: bool,
}

/// What Cloudflare's own records say of the tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelSight {
    pub deleted: bool,
    /// Live connections of *this* connector, where its id was known.
    pub live: Option<u32>,
    /// Remote ingress rules exist since (time since boot); `None` if there are none, or the rules are local.
    pub remote_rules_since: Option<Duration>,
}

/// The meaning of one journal line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// A connection is registered.
    Registered(Option<Transport>),
    /// A connection attempt began.
    Attempt,
    /// An attempt failed on the way.
    DialFailed { transport: Option<Transport>, to: Option<IpAddr> },
    /// A connection was lost.
    Lost,
    /// The edge refused a registration; `unauthorized` if it said so.
    Refused { unauthorized: bool, text: String },
    /// QUIC's generic words for a refused or unanswered registration.
    RefusedUnnamed,
    /// The transport it starts with.
    InitialTransport(Transport),
    /// It gave up QUIC for this life.
    FellBack,
    /// It will not start with this configuration.
    ConfigInvalid(String),
    /// It will not start with these credentials.
    CredentialsUnusable(String),
    /// A certificate was refused because of the local time.
    ClockWrong(String),
    /// The origin did not answer.
    OriginDown,
    /// No ingress rules.
    NoIngress,
    /// It is stopping because it was told to.
    GracefulStop,
    /// systemd: somebody asked to stop the unit.
    StopJob,
    /// systemd: the unit is starting, or has started.
    StartJob,
    /// systemd: the process ended, or the unit failed or was deactivated, without anybody's request.
    EndedByItself,
    /// Anything else.
    Other,
}

/// A line with its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    pub line: Line,
    /// When it was written (time since boot).
    pub at: Duration,
    pub invocation: Option<Invocation>,
}

/// The typed answer of a sense about one tunnel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    Unit(Seen<UnitSight>),
    Log(LogLine),
    /// The journal can be read up to now (or not).
    Journal(Seen<()>),
    /// The journal lost lines of this unit.
    JournalGap,
    Ready(Seen<ReadySight>),
    Name {
        hostname: String,
        sight: NameSight,
    },
    /// Where a public name leads.
    Route {
        hostname: String,
        seen: Seen<RouteSight>,
    },
    /// What a prober elsewhere sees of a public name that errs here.
    Elsewhere {
        hostname: String,
        seen: Seen<Elsewhere>,
    },
    Files(FilesSight),
    Setup(Setup),
    Tunnel(Seen<TunnelSight>),
}

/// The typed answer of a sense about the host as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HostFinding {
    Control(Seen<Control>),
    Edge(Seen<EdgeSight>),
    Host(Seen<HostSight>),
}

/// The latest of something, with its time.
#[derive(Clone, Debug)]
pub struct Slot<T> {
    /// The latest answer, and when it was asked for.
    pub latest: Option<(Duration, Seen<T>)>,
    /// When it last could see.
    pub seen_at: Option<Duration>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { latest: None, seen_at: None }
    }
}

impl<T> Slot<T> {
    /// Takes the answer of a look that ended at `now`.
    pub fn put(&mut self, now: Now, seen: Seen<T>) {
        if seen.is_ok() {
            self.seen_at = Some(now.boot);
        }
        self.latest = Some((now.boot, seen));
    }

    /// The latest answer with its time, if it is a sight and not older than `max_age`.
    pub fn fresh_at(&self, now: Now, max_age: Duration) -> Option<(Duration, &T)> {
        let (at, _) = self.latest.as_ref()?;
        Some((*at, self.fresh(now, max_age)?))
    }

    /// The latest answer, if it is a sight and not older than `max_age`.
    pub fn fresh(&self, now: Now, max_age: Duration) -> Option<&T> {
        let (at, seen) = self.latest.as_ref()?;
        if max_age < now.since(*at) {
            return None;
        }
        seen.as_ref().ok()
    }

    /// Why it cannot see, if it cannot.
    pub fn blind(&self) -> Option<Blind> {
        match &self.latest {
            None => Some(Blind::NotYet),
            Some((_, Err(blind))) => Some(*blind),
            Some((_, Ok(_))) => None,
        }
    }
}

/// What the journal taught, as times of the last occurrence (time since boot).
#[derive(Clone, Debug, Default)]
pub struct LogTrack {
    pub registered: Option<Duration>,
    pub attempt: Option<Duration>,
    /// The last dials that failed since a registration or a start, and where they went; the newest first.
    pub failed_dials: Vec<(Duration, IpAddr)>,
    pub unauthorized: Option<(Duration, String)>,
    pub refused: Option<(Duration, String)>,
    pub refused_unnamed: Option<Duration>,
    pub fell_back: Option<(Duration, Option<Invocation>)>,
    pub quic_worked: Option<Option<Invocation>>,
    pub transport: Option<(Transport, Option<Invocation>)>,
    pub config_invalid: Option<(Duration, String)>,
    pub credentials_unusable: Option<(Duration, String)>,
    pub clock_wrong: Option<(Duration, String)>,
    pub origin_down: Option<Duration>,
    pub no_ingress: Option<Duration>,
    pub graceful_stop: Option<Duration>,
    pub stop_job: Option<Duration>,
    pub start_job: Option<Duration>,
    pub ended_by_itself: Option<Duration>,
    pub gap: Option<Duration>,
    /// A line reached us long after it was written.
    pub late: Option<Duration>,
}

impl LogTrack {
    const DIALS_KEPT: usize = 4;

    pub(super) fn put(&mut self, entry: LogLine) {
        let LogLine { line, at, invocation } = entry;
        match line {
            Line::Registered(transport) => {
                self.registered = Some(at);
                self.failed_dials.clear();
                if let Some(transport) = transport {
                    self.transport = Some((transport, invocation));
                    if transport == Transport::Quic {
                        self.quic_worked = Some(invocation);
                    }
                }
            }
            Line::Attempt => self.attempt = Some(at),
            Line::DialFailed { transport, to } => {
                self.attempt = Some(at);
                if let Some(to) = to {
                    self.failed_dials.truncate(Self::DIALS_KEPT - 1);
                    self.failed_dials.insert(0, (at, to));
                }
                if let Some(transport) = transport {
                    self.transport = Some((transport, invocation));
                }
            }
            Line::Lost | Line::Other => (),
            Line::Refused { unauthorized: true, text } => self.unauthorized = Some((at, text)),
            Line::Refused { unauthorized: false, text } => self.refused = Some((at, text)),
            Line::RefusedUnnamed => self.refused_unnamed = Some(at),
            Line::InitialTransport(transport) => self.transport = Some((transport, invocation)),
            Line::FellBack => {
                self.fell_back = Some((at, invocation));
                self.transport = Some((Transport::Http2, invocation));
            }
            Line::ConfigInvalid(text) => self.config_invalid = Some((at, text)),
            Line::CredentialsUnusable(text) => self.credentials_unusable = Some((at, text)),
            Line::ClockWrong(text) => self.clock_wrong = Some((at, text)),
            Line::OriginDown => self.origin_down = Some(at),
            Line::NoIngress => self.no_ingress = Some(at),
            Line::GracefulStop => self.graceful_stop = Some(at),
            Line::StopJob => self.stop_job = Some(at),
            Line::StartJob => {
                self.start_job = Some(at);
                self.failed_dials.clear();
            }
            Line::EndedByItself => self.ended_by_itself = Some(at),
        }
    }
}

/// Everything seen of one tunnel.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub unit: Slot<UnitSight>,
    pub journal: Slot<()>,
    pub ready: Slot<ReadySight>,
    pub names: BTreeMap<String, NameTrack>,
    pub routes: BTreeMap<String, RouteTrack>,
    pub elsewhere: BTreeMap<String, Slot<Elsewhere>>,
    pub log: LogTrack,
    pub files: Option<FilesSight>,
    pub setup: Setup,
    pub tunnel: Slot<TunnelSight>,
}

/// Everything seen of the host.
#[derive(Clone, Debug, Default)]
pub struct HostEvidence {
    pub control: Slot<Control>,
    pub edge: Slot<EdgeSight>,
    pub host: Slot<HostSight>,
}

impl HostEvidence {
    pub(super) fn put(&mut self, now: Now, finding: HostFinding) {
        match finding {
            HostFinding::Control(seen) => self.control.put(now, seen),
            HostFinding::Edge(seen) => self.edge.put(now, seen),
            HostFinding::Host(seen) => self.host.put(now, seen),
        }
    }
}

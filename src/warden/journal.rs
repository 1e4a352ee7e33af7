//! The journal: what one line means, and what the lines together taught.

use core::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::edge::Transport;
use super::unit::Invocation;

/// The meaning of one journal line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Line {
    /// A connection is registered.
    Registered(Option<Transport>),
    /// A connection attempt began.
    Attempt,
    /// An attempt failed on the way; `untrusted` if the certificate it was shown is not the edge's.
    DialFailed {
        transport: Option<Transport>,
        to: Option<IpAddr>,
        #[serde(default)]
        untrusted: bool,
    },
    /// A connection was lost.
    Lost,
    /// The edge refused a registration; `unauthorized` if it said so.
    Refused { unauthorized: bool, text: String },
    /// QUIC's generic words for a refused or unanswered registration.
    RefusedUnnamed,
    /// The transport that is set for it by flag, environment or file, as it says itself at its start.
    SetTransport(Transport),
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
    /// Rules came from Cloudflare.
    IngressCame,
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

/// What a process says as it ends, and systemd's word of that end, are written in any order, and read so close together.
pub(super) const WORDS_LATE: Duration = Duration::from_secs(2);

/// Whose lines the journal has.
#[derive(Clone, Copy, Debug)]
pub struct Heard {
    pub of: Invocation,
    pub since: Duration,
    /// Since when the process before was heard of.
    pub before: Option<Duration>,
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
    /// Who gave up QUIC.
    pub fell_back: Option<Invocation>,
    /// Who was connected by QUIC.
    pub quic_worked: Option<Invocation>,
    pub transport: Option<(Transport, Option<Invocation>)>,
    /// Who said with which transport it begins.
    pub initial: Option<Invocation>,
    /// What is set for it, by its own word.
    pub set_transport: Option<(Transport, Option<Invocation>)>,
    pub config_invalid: Option<(Duration, String)>,
    pub credentials_unusable: Option<(Duration, String)>,
    pub clock_wrong: Option<(Duration, String)>,
    /// It was shown another certificate than the edge's.
    pub untrusted: Option<Duration>,
    pub origin_down: Option<Duration>,
    pub no_ingress: Option<Duration>,
    pub graceful_stop: Option<Duration>,
    pub stop_job: Option<Duration>,
    pub start_job: Option<Duration>,
    pub ended_by_itself: Option<Duration>,
    /// The words about its set-up of which a process ended.
    pub ended_of: Option<Duration>,
    pub gap: Option<Duration>,
    /// The newest process that was heard of, by its own lines.
    pub heard: Option<Heard>,
    /// A line reached us long after it was written.
    pub late: Option<Duration>,
}

impl LogTrack {
    const DIALS_KEPT: usize = 4;

    pub(super) fn put(&mut self, entry: LogLine) {
        let LogLine { line, at, invocation } = entry;
        let own = !matches!(line, Line::StartJob | Line::StopJob | Line::EndedByItself);
        if let Some(of) = invocation
            && own
            && self.heard.is_none_or(|heard| heard.of != of && heard.since <= at)
        {
            self.heard = Some(Heard { of, since: at, before: self.heard.map(|heard| heard.since) });
        }
        match line {
            Line::Registered(transport) => {
                self.registered = Some(at);
                self.failed_dials.clear();
                if let Some(transport) = transport {
                    self.transport = Some((transport, invocation));
                    if transport == Transport::Quic {
                        self.quic_worked = invocation;
                    }
                }
            }
            Line::Attempt => self.attempt = Some(at),
            Line::DialFailed { transport, to, untrusted } => {
                self.attempt = Some(at);
                if untrusted {
                    self.untrusted = Some(at);
                }
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
            Line::SetTransport(transport) => {
                // Flags are told of before the environment, and count before it.
                if self.set_transport.is_none_or(|(_, of)| of != invocation) {
                    self.set_transport = Some((transport, invocation));
                }
            }
            Line::InitialTransport(transport) => {
                self.transport = Some((transport, invocation));
                self.initial = invocation;
            }
            Line::FellBack => {
                self.fell_back = invocation;
                self.transport = Some((Transport::Http2, invocation));
            }
            Line::ConfigInvalid(text) => {
                self.config_invalid = Some((at, text));
                self.ends_of_its_words();
            }
            Line::CredentialsUnusable(text) => {
                self.credentials_unusable = Some((at, text));
                self.ends_of_its_words();
            }
            Line::ClockWrong(text) => self.clock_wrong = Some((at, text)),
            Line::OriginDown => self.origin_down = Some(at),
            Line::NoIngress => self.no_ingress = Some(at),
            Line::IngressCame => self.no_ingress = None,
            Line::GracefulStop => self.graceful_stop = Some(at),
            Line::StopJob => self.stop_job = Some(at),
            Line::StartJob => {
                self.start_job = Some(at);
                self.failed_dials.clear();
            }
            Line::EndedByItself => {
                self.ended_by_itself = Some(at);
                self.ends_of_its_words();
            }
        }
    }

    /// systemd tells of an end before or after the last words of who ended.
    fn ends_of_its_words(&mut self) {
        let at = |told: &Option<(Duration, String)>| told.as_ref().map(|(at, _)| *at);
        let told = at(&self.config_invalid).max(at(&self.credentials_unusable));
        let ended =
            self.ended_by_itself.zip(told).is_some_and(|(ended, told)| ended.abs_diff(told) < WORDS_LATE);
        if ended {
            self.ended_of = told;
        }
    }
}

//! Four connections kept alive: their own back-offs, the supervisor's long silent one, and the fallback.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::spawn_local,
    time::{Instant, sleep, sleep_until},
};

use super::{
    backoff::{Backoff, go_seconds},
    dial::Dialer,
    log::Level,
    settings::Protocol,
    state::{Attempt, CONNECTIONS, State},
    tunnel::{DUPLICATE, End, Tunnel},
};

/// Address changes before the fallback: the ninth failed dial.
const MAX_ROTATIONS: u32 = 8;
const GAP: Duration = Duration::from_secs(1);
const BLOCKED: &str = "If this log occurs persistently, and cloudflared is unable to connect to Cloudflare Network with `quic` protocol, then most likely your machine/network is getting its egress UDP to port 7844 (or others) blocked or dropped. Make sure to allow egress connectivity as per https://developers.cloudflare.com/cloudflare-one/connections/connect-apps/configuration/ports-and-ips/\nIf you are using private routing to this Tunnel, then ICMP, UDP (and Private DNS Resolution) will not work unless your cloudflared can connect with Cloudflare Network with `quic`.";

/// What the supervisor is told once.
pub struct Plan {
    pub regions: [Vec<SocketAddr>; 2],
    /// `None` is `auto`: QUIC first.
    pub protocol: Option<Protocol>,
    /// What `auto` begins with.
    pub initial: Protocol,
    pub retries: u32,
    pub seed: Option<u64>,
    /// Pins the supervisor's wait.
    pub supervisor_wait: Option<Duration>,
}

/// One of the four, between attempts.
struct Line {
    index: usize,
    backoff: Backoff,
    protocol: Protocol,
    in_fallback: bool,
    rotations: u32,
    /// Changes of its address.
    moves: usize,
}

pub struct Supervisor {
    state: Arc<State>,
    dialer: Dialer,
    plan: Plan,
    /// The place of the first line among the addresses.
    begin: usize,
}

impl Supervisor {
    pub fn new(state: Arc<State>, dialer: Dialer, plan: Plan) -> Self {
        let addresses = plan.regions.iter().map(Vec::len).sum::<usize>().max(1);
        let begin = if plan.seed.is_some() { 0 } else { rand::random_range(0..addresses) };
        Self { state, dialer, plan, begin }
    }

    /// Runs until the graceful end, or until the first connection fails in a way that is final.
    ///
    /// # Errors
    /// The text of `Initiating shutdown`.
    pub async fn run(self: Arc<Self>) -> Result<(), String> {
        let (ended_to, mut ended) = mpsc::unbounded_channel();
        let first = self.line(0, None);
        let (fallback_to, mut fallback) = mpsc::unbounded_channel();
        spawn_local(Arc::clone(&self).first(first, ended_to.clone(), fallback_to));
        let mut connected = self.state.connected_once.subscribe();
        tokio::select! {
            _ = connected.wait_for(|connected| *connected) => {}
            Some((_, end)) = ended.recv() => return match end.error() {
                None => Ok(()),
                Some(error) => {
                    self.state.log.error("initial tunnel connection failed", error, vec![]);
                    Err(error.to_owned())
                }
            },
            () = self.state.stopped() => return Ok(()),
        }
        let started_with = fallback.try_recv().ok();
        for index in 1..CONNECTIONS {
            let delay = GAP * u32::try_from(index - 1).unwrap_or(0);
            self.start(self.line(index, started_with), delay, &ended_to);
        }
        self.supervise(ended, ended_to).await;
        Ok(())
    }

    async fn supervise(
        self: &Arc<Self>,
        mut ended: mpsc::UnboundedReceiver<(Line, End)>,
        ended_to: mpsc::UnboundedSender<(Line, End)>,
    ) {
        let mut backoff = Backoff::new(Duration::from_secs(10), self.plan.retries, self.plan.seed, 100);
        let mut active = CONNECTIONS;
        let mut waiting: Vec<Line> = Vec::new();
        let mut timer: Option<Instant> = None;
        loop {
            if self.state.is_stopping() && active == 0 && !self.sleeps_through_stop(&waiting) {
                return;
            }
            tokio::select! {
                Some((line, end)) = ended.recv() => {
                    active -= 1;
                    let fields = vec![("connIndex", line.index.into())];
                    self.state.connection_error("Connection terminated", end.error(), fields);
                    if end != End::Stopped && !self.state.is_stopping() {
                        waiting.push(line);
                        timer.get_or_insert_with(|| Instant::now() + self.supervisor_wait(&mut backoff));
                    } else if active == 0 {
                        self.state.log.write(Level::Error, "no more connections active and exiting", vec![]);
                        return;
                    }
                }
                () = until(timer) => {
                    if self.state.is_stopping() {
                        return;
                    }
                    timer = None;
                    active += waiting.len();
                    for line in waiting.drain(..) {
                        self.start(line, Duration::ZERO, &ended_to);
                    }
                    backoff.reset_after_grace();
                }
                // With everybody asleep on HTTP/2 the signal changes nothing until the timer fires.
                () = self.state.stopped(), if active == 0 && !self.state.is_stopping() => {}
            }
        }
    }

    fn sleeps_through_stop(&self, waiting: &[Line]) -> bool {
        waiting.iter().any(|line| line.protocol == Protocol::Http2)
    }

    fn supervisor_wait(&self, backoff: &mut Backoff) -> Duration {
        let drawn = backoff.next_wait();
        self.plan.supervisor_wait.unwrap_or(drawn)
    }

    /// A line of its own region; what index 0 found out about QUIC counts for the others, too.
    fn line(&self, index: usize, fallback: Option<Protocol>) -> Line {
        Line {
            index,
            backoff: Backoff::new(Duration::from_secs(1), self.plan.retries, self.plan.seed, index as u64),
            protocol: fallback.or(self.plan.protocol).unwrap_or(self.plan.initial),
            in_fallback: fallback.is_some(),
            rotations: 0,
            moves: 0,
        }
    }

    /// Index 0 stays in its own fast loop as long as its errors are of the kind that is retried there.
    async fn first(
        self: Arc<Self>,
        mut line: Line,
        ended: mpsc::UnboundedSender<(Line, End)>,
        fallback: mpsc::UnboundedSender<Protocol>,
    ) {
        loop {
            let was = line.in_fallback;
            let end = self.attempt(&mut line).await;
            if line.in_fallback && !was {
                let _ = fallback.send(line.protocol);
            }
            if end == End::Stopped || self.state.is_stopping() || !retried_fast(line.protocol, &end) {
                let _ = ended.send((line, end));
                return;
            }
        }
    }

    fn start(self: &Arc<Self>, mut line: Line, delay: Duration, ended: &mpsc::UnboundedSender<(Line, End)>) {
        let (supervisor, ended) = (Arc::clone(self), ended.clone());
        spawn_local(async move {
            let state = Arc::clone(&supervisor.state);
            let end = tokio::select! {
                () = state.stopped() => End::Stopped,
                () = sleep(delay) => supervisor.attempt(&mut line).await,
            };
            let _ = ended.send((line, end));
        });
    }

    /// One attempt and the wait after it.
    async fn attempt(&self, line: &mut Line) -> End {
        let _counted = Attempt::begin(&self.state);
        let tunnel = Tunnel {
            state: Arc::clone(&self.state),
            index: line.index,
            edge: self.address(line),
            protocol: line.protocol,
            previous_attempts: u8::try_from(line.backoff.retries).unwrap_or(u8::MAX),
        };
        let successes = self.state.counters.register_success.load(Ordering::Relaxed);
        let end = tunnel.serve(&self.dialer).await;
        if let End::Lost(_) | End::Stopped = end
            && self.state.counters.register_success.load(Ordering::Relaxed) > successes
        {
            line.backoff.reset_now();
            line.rotations = 0;
        }
        if end == End::Stopped && line.backoff.retries == 0 && !*self.state.connected_once.borrow() {
            return end;
        }
        let mut blocked = false;
        if let End::Dial(_) = end {
            blocked = line.rotations >= MAX_ROTATIONS;
            line.rotations += 1;
            line.moves += 1;
        }
        if end == End::Refused(DUPLICATE.into()) && line.protocol == Protocol::Http2 {
            line.moves += 1;
        }
        let announced = go_seconds(line.backoff.announced());
        self.state.log.info(&format!("Retrying connection in up to {announced}"), tunnel.fields());
        tunnel.explain_stream(&end);
        let exhausted = line.backoff.retries >= self.plan.retries;
        let wait = line.backoff.next_wait();
        tokio::select! {
            () = sleep(wait) => {}
            () = self.state.stopped() => return End::Stopped,
        }
        self.choose_protocol(line, &end, blocked, exhausted, &tunnel);
        end
    }

    /// `auto` leaves QUIC for good when it never worked in this process.
    fn choose_protocol(&self, line: &mut Line, end: &End, blocked: bool, exhausted: bool, tunnel: &Tunnel) {
        let may = self.plan.protocol.is_none()
            && line.protocol == Protocol::Quic
            && !self.state.quic_worked.load(Ordering::Relaxed);
        let must = match end {
            End::Dial(_) => blocked,
            End::Refused(_) | End::Lost(_) => exhausted,
            End::Stopped => false,
        };
        if !may || !must {
            return;
        }
        if blocked {
            self.state.log.write(Level::Warn, BLOCKED, tunnel.fields());
        }
        let protocol = Protocol::Http2;
        (line.protocol, line.in_fallback) = (protocol, true);
        let text = format!("Switching to fallback protocol {}", protocol.name());
        self.state.log.info(&text, tunnel.fields());
    }

    /// Neighbours use different regions, and a failed dial moves on to the other one; where they begin is chance.
    fn address(&self, line: &Line) -> SocketAddr {
        let [one, two] = &self.plan.regions;
        // Past those of the other lines.
        let at = self.begin + line.index + line.moves * (CONNECTIONS + 1);
        let region = if at.is_multiple_of(2) || two.is_empty() { one } else { two };
        let region = if region.is_empty() { two } else { region };
        region[at / 2 % region.len()]
    }
}

/// Errors that keep connection 0 in its fast loop.
fn retried_fast(protocol: Protocol, end: &End) -> bool {
    match (protocol, end) {
        (_, End::Dial(_)) | (Protocol::Quic, End::Refused(_) | End::Lost(_)) => true,
        (Protocol::Http2, End::Refused(text)) => text.contains("Unauthorized") || text == DUPLICATE,
        (Protocol::Http2, End::Lost(_)) | (_, End::Stopped) => false,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

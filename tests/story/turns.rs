//! What becomes of the world: the lines of a story without an arrow.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use tunnelwarden::warden::announcement::Announcement;
use tunnelwarden::warden::event::Event;
use tunnelwarden::warden::evidence::{
    Active, Answer, Blind, Control, Elsewhere, Families, Family, FilesSight, Finding, Job, Line, Load,
    LogLine, Reach, Ready, Transport, TunnelSight,
};
use tunnelwarden::warden::machine::{Memory, Warden};
use tunnelwarden::warden::operator::{Pause, Request};
use tunnelwarden::warden::policy::Policy;
use tunnelwarden::warden::route::{Kept, Route, RouteSight};

use super::{NAMES, UNIT, World, seconds};

impl World {
    /// What becomes of the world.
    pub(crate) fn set(&mut self, words: &[&str]) {
        let reach = |word: &str| match word {
            "ok" => Reach::Reachable,
            "refused" => Reach::Refused,
            "silent" => Reach::Silent,
            _ => Reach::TimedOut,
        };
        let answer = |word: &str| match word {
            "served" => Answer::Served,
            "1033" => Answer::TunnelError,
            "502" | "503" => Answer::OriginError,
            "520" => Answer::EdgeError,
            "1016" => Answer::DnsError,
            "access" => Answer::Access,
            "challenge" => Answer::Challenge,
            "cached" => Answer::Cached,
            "unexpected" => Answer::Unexpected,
            "blind" => Answer::Blind,
            other => panic!("no answer {other}"),
        };
        match words {
            ["names", "unknown"] => {
                (self.names_known, self.asked) = (false, 0);
                self.tell(Event::Tunnel { unit: UNIT.into(), names: Vec::new() });
            }
            ["names", "unasked"] => self.asked = 0,
            ["names", "asked"] => self.asked = self.watched,
            ["other", "name", "unasked"] => self.asked = 1,
            ["names", word] => self.names = [answer(word); NAMES.len()],
            ["names", word, "after", "requests"] => {
                // Visitors were served between our last sample of the counters and the outage.
                self.requests += 7;
                self.names = [answer(word); NAMES.len()];
            }
            ["dns", "inside", word] => {
                self.route = inside(word).map(|inside| RouteSight { inside: Some(inside), ..self.leads() })
            }
            ["dns", "outside", word] => {
                self.route = inside(word).map(|outside| RouteSight { outside: Some(outside), ..self.leads() })
            }
            ["other", "name", "leads", "here"] => self.other_leads_here = true,
            ["other", "name", word] => self.names[1] = answer(word),
            ["third", "name", word] => {
                self.names[2] = answer(word);
                (self.watched, self.asked) = (NAMES.len(), NAMES.len());
                self.name_them();
            }
            ["record", word] => {
                let id = "11111111-947b-4bf6-acad-100a73de4e0d";
                let kept = match *word {
                    "ours" => Kept::Ours,
                    "other" => Kept::OtherTunnel(id.into()),
                    "direct" => Kept::Elsewhere("A 192.0.2.1".into()),
                    other => panic!("no record {other}"),
                };
                self.route = Ok(RouteSight { kept: Some(kept), ..self.leads() });
            }
            ["observer", "of", "other", "name", word] => self.elsewhere[1] = Some(elsewhere(word)),
            ["observer", word] => self.elsewhere.fill(Some(elsewhere(word))),
            ["name", word] => self.names[0] = answer(word),
            ["ready", word @ ("blind" | "seen")] => self.ready_blind = *word == "blind",
            ["ready", word @ ("asked" | "unasked")] => self.ready_asked = *word == "asked",
            ["ready", "silent"] => self.ready = Ready::Silent,
            ["ready", "refused"] => self.ready = Ready::Refused,
            ["ready", n] => self.ready = Ready::Connections(n.parse().unwrap()),
            ["tcp", word] => self.tcp = reach(word),
            ["other", "region", "tcp", word] => self.other_region = Some(reach(word)),
            ["edge", "unasked"] => self.edge_asked = false,
            ["edge", "asked"] => self.edge_asked = true,
            ["last", "looks", word] => {
                (self.looks_end, self.looks_see) = (*word != "hang", *word != "see-nothing");
            }
            ["looks", "every", span] => self.looks_every = seconds(span),
            ["v4", word] => (self.tcp, self.quic) = (reach(word), reach(word)),
            ["v6", "comes", "first"] => self.first = Family::V6,
            ["v6", word] => (self.six, self.first) = (Some(reach(word)), Family::V6),
            ["set", "to", n, "connections"] => {
                self.setup.connections = Some(n.parse().unwrap());
                self.observed(Finding::Setup(self.setup));
            }
            ["family", word] => {
                self.setup.families = match *word {
                    "4" => Families::V4,
                    "6" => Families::V6,
                    "auto" => Families::Auto,
                    "unknown" => Families::Unknown,
                    other => panic!("no family {other}"),
                };
                self.observed(Finding::Setup(self.setup));
            }
            ["quic", word] => self.quic = reach(word),
            ["dns", word] => self.resolved = *word == "ok",
            ["control", "unasked"] => self.control_asked = false,
            ["look", "finds", "tcp", word] => self.look_finds_tcp = Some(reach(word)),
            ["control", word] => {
                self.control = match *word {
                    "ok" => Ok(Control::Answered),
                    "blind" => Err(Blind::TimedOut),
                    _ => Ok(Control::Failing),
                }
            }
            ["route", word] => self.host.route = *word == "yes",
            ["host", "booted"] => {
                // A story of its own: nothing was seen in this boot before.
                self.base = Duration::from_secs(5);
                (self.unit.since, self.unit.started) = (self.base, Some(self.base));
                self.warden = Warden::new(self.policy(), Memory::default());
                self.appear();
            }
            ["host", "upgrading"] => self.host.upgrading = true,
            ["host", "not", "seen"] => self.host_unseen = true,
            ["host", "unsynchronised"] => self.host.unsynchronised = true,
            ["host", "shutting", "down"] => self.host.shutting_down = true,
            ["window", "shut", "for", span] => {
                self.host.window_shut_until = Some(self.boot() + seconds(span));
            }
            ["paused", "for", span] => {
                let until = self.boot() + seconds(span);
                let paused = Some(Pause { until, reason: "maintenance".into() });
                let histories = self.warden.histories();
                self.warden = Warden::new(self.policy(), Memory { histories, lost: None, paused });
                self.appear();
            }
            ["operator", "pauses", "for", span] => {
                let until = self.boot() + seconds(span);
                self.tell(Event::Paused(Pause { until, reason: "by uid 0: work".into() }));
            }
            ["operator", "resumes"] => self.tell(Event::Resumed { by: "uid 0".into() }),
            ["operator", verb @ ("asks" | "forces"), ..] => {
                let (unit, reason, by) = (UNIT.into(), "new binary".into(), "uid 0".into());
                let request = Request { unit, reason, by, force: *verb == "forces" };
                let refusal = self.warden.refusal(&request, self.now());
                self.refused = refusal.iter().map(|held| held.hold.name()).collect();
                self.refused_because = refusal.into_iter().map(|held| held.detail).collect();
                self.tell(Event::Requested(request));
            }
            ["journal", "blind"] => self.journal = Err(Blind::Forbidden),
            ["journal", "readable"] => self.journal = Ok(()),
            ["journal", "gap"] => self.observed(Finding::JournalGap),
            ["journal", "late"] => {
                let at = self.boot() - Duration::from_secs(20);
                let entry = LogLine { line: Line::Other, at, invocation: self.unit.invocation };
                self.observed(Finding::Log(entry));
            }
            ["clock", "jumps", span] => self.wall_off += seconds(span),
            ["host", "sleeps", span] => self.at += seconds(span),
            ["transport", word] => {
                self.setup.transport = match *word {
                    "auto" => None,
                    "quic" => Some(Transport::Quic),
                    _ => Some(Transport::Http2),
                };
                self.observed(Finding::Setup(self.setup));
            }
            ["unit", "may", "start", "for", "ever"] => self.unit.start_limit = None,
            ["unit", "may", "start", "for", span] => self.unit.start_limit = Some(seconds(span)),
            ["start", "limit", n] => self.unit.start_rate = Some((n.parse().unwrap(), seconds("1h"))),
            ["certificates", "refused"] => self.dates = true,
            ["status", n] => self.status = Some(n.parse().unwrap()),
            ["registrations", "refused", n] => self.counters.register_fail += n.parse::<u64>().unwrap(),
            ["registrations", "accepted", n] => self.counters.register_success += n.parse::<u64>().unwrap(),
            ["api", "blind"] => self.observed(Finding::Tunnel(Err(Blind::Unreachable))),
            ["api", "deleted"] => self.api(TunnelSight { deleted: true, ..TunnelSight::default() }),
            ["api", "live", n] => self.api(TunnelSight { live: n.parse().ok(), ..TunnelSight::default() }),
            ["api", "rules", age @ ..] => {
                let since = self.boot() - age.first().map_or(Duration::from_secs(300), |age| seconds(age));
                self.api(TunnelSight { remote_rules_since: Some(since), ..TunnelSight::default() });
            }
            ["unit", "unseen"] => self.unit_blind = Some(Blind::Unreachable),
            ["unit", "slow"] => self.unit_blind = Some(Blind::TimedOut),
            ["unit", "seen"] => self.unit_blind = None,
            ["last", "looks", "find", "systemd", "slow"] => self.last_looks_blind = true,
            ["unit", "missing"] => self.unit.load = Load::NotFound,
            ["unit", "broken"] => self.unit.load = Load::Broken,
            ["unit", "disabled"] => self.unit.disabled = true,
            ["unit", "masked"] => self.unit.load = Load::Masked,
            ["unit", "goes", "without", "a", "word"] => self.down(Active::Inactive, "dead", "success"),
            ["unit", "frozen"] => self.unit.frozen = true,
            ["unit", "queued"] => self.down(Active::Activating, "auto-restart-queued", "exit-code"),
            ["unit", "restarting"] => self.down(Active::Activating, "auto-restart", "exit-code"),
            ["unit", "stops"] => {
                (self.unit.active, self.unit.sub) = (Active::Deactivating, "stop-sigterm".into());
            }
            ["unit", "exits", "well"] => {
                self.down(Active::Activating, "auto-restart", "success");
                self.log(Line::EndedByItself);
            }
            ["unit", "exits", status] => {
                self.unit.exit_status = status.parse().ok();
                self.down(Active::Activating, "auto-restart", "exit-code");
                self.log(Line::EndedByItself);
            }
            ["unit", "ends"] => {
                self.down(Active::Inactive, "dead", "success");
                self.log(Line::EndedByItself);
            }
            ["cloudflare", "announces", "nothing"] => self.announced = Some(Ok(Vec::new())),
            ["cloudflare", "announces", about] => {
                let (tunnels, colos) = (*about == "tunnels", vec![(*about).to_owned()]);
                let name = "Connectivity issues".into();
                self.announced = Some(Ok(vec![Announcement { name, tunnels, colos }]));
            }
            ["status", "page", "blind"] => self.announced = Some(Err(Blind::TimedOut)),
            ["names", "answered", "at", colo] => self.colo = Some((*colo).to_owned()),
            ["quic", "bytes", "arrive"] => self.counters.quic_received = Some(1),
            ["quic", "bytes", "stand", "still"] => self.arriving = false,
            ["tunnelwarden", "installed"] => {
                self.warden = Warden::new(self.policy(), Memory::default());
                self.appear();
            }
            ["program", "newer"] => self.unit.newer_program = true,
            ["requests", "fail"] => self.failing = true,
            ["requests", "fail", "no", "more"] => self.failing = false,
            ["requests", word] => self.rising = *word == "rising",
            ["restarts", word] => self.cures = *word == "cure",
            ["systemd", "refuses"] => self.fails = true,
            ["stops", "hang"] => self.hangs = true,
            ["job", "restart"] => self.unit.job = Some(Job::Restart),
            ["systemd", word] => self.answers = *word == "answers",
            ["unit", "failed"] => {
                self.unit.active = Active::Failed;
                self.unit.sub = "failed".into();
                self.unit.result = "signal".into();
                self.unit.main_pid = 0;
                self.unit.since = self.boot();
                self.log(Line::EndedByItself);
            }
            ["unit", "stopped"] => {
                self.log(Line::StopJob);
                self.unit.active = Active::Inactive;
                self.unit.sub = "dead".into();
                self.unit.main_pid = 0;
                self.unit.since = self.boot();
            }
            ["unit", "restarted"] => self.new_life(),
            ["unit", "restarted", "by", "systemd"] => {
                self.unit.n_restarts += 1;
                self.new_life();
            }
            ["job", "start"] => self.unit.job = Some(Job::Start),
            ["job", "stop"] => self.unit.job = Some(Job::Stop),
            ["unit", "starting"] => {
                self.unit.active = Active::Activating;
                self.unit.sub = "start".into();
                self.unit.job = Some(Job::Start);
                self.unit.since = self.boot();
            }
            ["job", "none"] => self.unit.job = None,
            ["credentials", "gone"] => {
                self.files.unusable = Some("/etc/cloudflared/x.json does not exist".into())
            }
            ["credentials", "newer"] => {
                self.files = FilesSight { unusable: None, changed: Some(self.now().wall) };
            }
            ["files", "changed", span, "ago"] => {
                let changed = self.now().wall - seconds(span);
                self.files = FilesSight { unusable: None, changed: Some(changed) };
            }
            ["files", "changed", "in", span] => {
                let changed = self.now().wall + seconds(span);
                self.files = FilesSight { unusable: None, changed: Some(changed) };
            }
            ["counters", "unread"] => self.counters_unread = true,
            ["log", "unauthorized"] => {
                let text = "Unauthorized: Invalid tunnel secret".into();
                self.log(Line::Refused { unauthorized: true, text });
            }
            ["journal", "tells", "of", "unauthorized", "at", time] => {
                let line =
                    Line::Refused { unauthorized: true, text: "Unauthorized: Invalid tunnel secret".into() };
                let at = self.base + seconds(time);
                self.observed(Finding::Log(LogLine { line, at, invocation: self.unit.invocation }));
            }
            ["journal", "tells", "of", "registered", "at", time] => {
                let (line, at) = (Line::Registered(None), self.base + seconds(time));
                self.observed(Finding::Log(LogLine { line, at, invocation: self.unit.invocation }));
            }
            ["log", "stop-job"] => self.log(Line::StopJob),
            ["log", "refused"] => {
                self.log(Line::Refused { unauthorized: false, text: "server busy".into() });
            }
            ["log", "refused-unnamed"] => self.log(Line::RefusedUnnamed),
            ["log", "graceful-stop"] => self.log(Line::GracefulStop),
            ["log", "config-invalid"] => self.log(Line::ConfigInvalid("no last rule".into())),
            ["log", "credentials-unusable"] => self.log(Line::CredentialsUnusable("no token".into())),
            ["log", "clock-wrong"] => self.log(Line::ClockWrong("not yet valid".into())),
            ["log", "no-ingress"] => self.log(Line::NoIngress),
            ["log", "initial", word] => {
                self.log(Line::InitialTransport(Transport::of_setting(word).unwrap()));
            }
            ["log", "set", word] => self.log(Line::SetTransport(Transport::of_setting(word).unwrap())),
            ["log", "fell-back"] => self.log(Line::FellBack),
            ["log", "registered", word] => {
                let transport = if *word == "quic" { Transport::Quic } else { Transport::Http2 };
                self.log(Line::Registered(Some(transport)));
            }
            ["log", "origin-down"] => self.log(Line::OriginDown),
            ["log", "dial", "failed", to] => {
                let to = Some(to.parse().unwrap());
                self.log(Line::DialFailed { transport: Some(Transport::Http2), to, untrusted: false });
            }
            ["log", "dial", "untrusted"] => {
                self.log(Line::DialFailed { transport: Some(Transport::Http2), to: None, untrusted: true });
            }
            ["log", "ingress", "came"] => self.log(Line::IngressCame),
            ["attempts", "go", "on"] => self.trying = true,
            ["log", "attempt"] => self.log(Line::Attempt),
            ["port", "of", "another", "life"] => self.port_of_this_life = false,
            ["private", "network"] => {
                self.setup.private_network = Some(true);
                self.observed(Finding::Setup(self.setup));
            }
            ["edge", "of", "its", "own"] => {
                self.setup.own_edge = true;
                self.observed(Finding::Setup(self.setup));
            }
            ["edge", "of", "another", "region"] => {
                self.setup.other_region = true;
                self.observed(Finding::Setup(self.setup));
            }
            ["policy", words @ ..] => {
                let mut policy = self.policy();
                match words {
                    ["start_stopped"] => policy.start_stopped = true,
                    ["windows"] => policy.windows = true,
                    ["no", "swift"] => policy.swift = false,
                    ["start_grace", span] => policy.start_grace = seconds(span),
                    ["patience", span] => policy.patience = seconds(span),
                    ["per_day", n] => policy.per_day = n.parse().unwrap(),
                    ["rounds", n] => policy.rounds = n.parse().unwrap(),
                    other => panic!("no policy {other:?}"),
                }
                self.tell(Event::Policy(Box::new(policy)));
            }
            ["mode", "observe"] => {
                let policy = Policy { observe_only: true, ..self.policy() };
                self.tell(Event::Policy(Box::new(policy)));
            }
            ["memory", "lost"] => {
                let lost = Some("state.toml is broken".into());
                self.warden = Warden::new(self.policy(), Memory { lost, ..Memory::default() });
                self.appear();
            }
            ["warden", "crashes"] => {
                let memory = Memory { histories: self.disk.clone(), ..Memory::default() };
                self.warden = Warden::new(self.policy(), memory);
                self.appear();
            }
            other => panic!("no such thing in the world: {other:?}"),
        }
        self.look();
    }
}

/// What a prober elsewhere says of a name.
fn elsewhere(word: &str) -> Result<Elsewhere, Blind> {
    let (served, status) = match word {
        "served" => (true, 200),
        "failing" => (false, 530),
        "blind" => return Err(Blind::Unreachable),
        other => panic!("a prober says no {other}"),
    };
    Ok(Elsewhere { by: "blackbox.example.net".into(), served, status: Some(status) })
}

/// What a resolver says of the names.
fn inside(word: &str) -> Result<Route, Blind> {
    Ok(match word {
        "edge" => Route::Edge,
        "missing" => Route::Missing,
        "grey" => Route::Grey("62da6c19-947b-4bf6-acad-100a73de4e0d.cfargotunnel.com".into()),
        "elsewhere" => Route::Elsewhere(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))),
        "private" => Route::Elsewhere(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))),
        "silent" => return Err(Blind::TimedOut),
        other => panic!("no route {other}"),
    })
}

//! What PID 1 says about the unit, known by its message ids. Take these lines from PID 1 only: anyone can write a
//! `MESSAGE_ID`, nobody else can be `_PID=1`.

/// The fields of a line of PID 1 that carry meaning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SystemdLine<'a> {
    pub message: &'a str,
    pub message_id: Option<&'a str>,
    pub job_type: Option<&'a str>,
    pub job_result: Option<&'a str>,
    pub unit_result: Option<&'a str>,
    pub exit_code: Option<&'a str>,
    pub exit_status: Option<&'a str>,
    pub n_restarts: Option<u32>,
}

/// What it means. Job types and results are systemd's words (`start`, `restart`, `stop`; `done`, `failed`, `timeout` …).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemdMeaning {
    Starting {
        job_type: String,
    },
    Started {
        job_type: String,
    },
    StartFailed {
        job_type: String,
        result: String,
    },
    Stopping {
        job_type: String,
    },
    /// `job_type` tells an operator's stop (`stop`) from a restart.
    Stopped {
        job_type: String,
    },
    Reloading,
    Reloaded,
    /// `exited`, `killed`, `dumped` and the exit status or signal.
    MainExited {
        code: String,
        status: String,
    },
    /// `Failed with result '…'`.
    Failed {
        result: String,
    },
    Deactivated,
    /// A condition was not met.
    Skipped,
    RestartScheduled {
        counter: Option<u32>,
    },
    StartTimedOut,
    StopTimedOut,
    StartLimitHit,
    /// The executable could not be run.
    SpawnFailed,
    OutOfMemory,
    /// Somebody asked systemd to send a signal.
    SignalSent {
        signal: String,
    },
    Noise,
    Unknown,
}

impl SystemdMeaning {
    /// A fixed word for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Starting { .. } => "unit_starting",
            Self::Started { .. } => "unit_started",
            Self::StartFailed { .. } => "unit_start_failed",
            Self::Stopping { .. } => "unit_stopping",
            Self::Stopped { .. } => "unit_stopped",
            Self::Reloading => "unit_reloading",
            Self::Reloaded => "unit_reloaded",
            Self::MainExited { .. } => "unit_main_exited",
            Self::Failed { .. } => "unit_failed",
            Self::Deactivated => "unit_deactivated",
            Self::Skipped => "unit_skipped",
            Self::RestartScheduled { .. } => "unit_restart_scheduled",
            Self::StartTimedOut => "unit_start_timed_out",
            Self::StopTimedOut => "unit_stop_timed_out",
            Self::StartLimitHit => "unit_start_limit_hit",
            Self::SpawnFailed => "unit_spawn_failed",
            Self::OutOfMemory => "unit_out_of_memory",
            Self::SignalSent { .. } => "unit_signal_sent",
            Self::Noise => "unit_noise",
            Self::Unknown => "unit_unknown",
        }
    }
}

/// What a line of PID 1 means.
pub fn systemd_meaning(line: &SystemdLine<'_>) -> SystemdMeaning {
    let word = |field: Option<&str>| field.unwrap_or_default().to_owned();
    let job_type = || word(line.job_type);
    match line.message_id.unwrap_or_default() {
        "7d4958e842da4a758f6c1cdc7b36dcc5" => SystemdMeaning::Starting { job_type: job_type() },
        "39f53479d3a045ac8e11786248231fbf" => SystemdMeaning::Started { job_type: job_type() },
        "be02cf6855d2428ba40df7e9d022f03d" => {
            SystemdMeaning::StartFailed { job_type: job_type(), result: word(line.job_result) }
        }
        "de5b426a63be47a7b6ac3eaac82e2f6f" => SystemdMeaning::Stopping { job_type: job_type() },
        "9d1aaa27d60140bd96365438aad20286" => SystemdMeaning::Stopped { job_type: job_type() },
        "d34d037fff1847e6ae669a370e694725" => SystemdMeaning::Reloading,
        "7b05ebc668384222baa8881179cfda54" => SystemdMeaning::Reloaded,
        "98e322203f7a4ed290d09fe03c09fe15" => {
            SystemdMeaning::MainExited { code: word(line.exit_code), status: word(line.exit_status) }
        }
        "d9b373ed55a64feb8242e02dbe79a49c" => SystemdMeaning::Failed { result: word(line.unit_result) },
        "7ad2d189f7e94e70a38c781354912448" => SystemdMeaning::Deactivated,
        "0e4284a0caca4bfc81c0bb6786972673" => SystemdMeaning::Skipped,
        "5eb03494b6584870a536b337290809b3" => SystemdMeaning::RestartScheduled { counter: line.n_restarts },
        "fe6faa94e7774663a0da52717891d8ef" => SystemdMeaning::OutOfMemory,
        "641257651c1b4ec9a8624d7a40a9e1e7" => SystemdMeaning::SpawnFailed,
        "ae8f7b866b0347b9af31fe1c80b127c0" => SystemdMeaning::Noise,
        "" => by_wording(line.message),
        _ => SystemdMeaning::Unknown,
    }
}

/// The few lines that have no id, after the `name.service: ` that begins them all.
fn by_wording(message: &str) -> SystemdMeaning {
    let Some((_, text)) = message.split_once(": ") else { return SystemdMeaning::Unknown };
    if text.starts_with("Start request repeated too quickly") {
        SystemdMeaning::StartLimitHit
    } else if text.starts_with("start operation timed out") || text.starts_with("Start operation timed out") {
        SystemdMeaning::StartTimedOut
    } else if text.starts_with("State 'stop-") || text.starts_with("State 'final-") {
        SystemdMeaning::StopTimedOut
    } else if let Some(rest) = text.strip_prefix("Sent signal ") {
        SystemdMeaning::SignalSent { signal: rest.split(' ').next().unwrap_or_default().to_owned() }
    } else if ["Consumed ", "Killing process ", "Changed ", "Installed new job ", "Service RestartSec="]
        .iter()
        .any(|start| text.starts_with(start))
    {
        SystemdMeaning::Noise
    } else {
        SystemdMeaning::Unknown
    }
}

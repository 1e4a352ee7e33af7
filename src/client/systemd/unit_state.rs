//! The state of one unit, read as a whole.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use secrecy::{ExposeSecret, SecretBox, SecretString};
use zbus::fdo::PropertiesProxy;
use zbus::names::InterfaceName;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use super::proxies::ManagerProxy;
use super::{SYSTEMD, SystemdError, limited};

const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const JOB: &str = "org.freedesktop.systemd1.Job";

/// The command lines of a unit. Old installations carry the tunnel's token in them, so nothing here is ever printed.
#[derive(Clone)]
pub struct ExecStart(Arc<SecretBox<Vec<Vec<String>>>>);

impl ExecStart {
    pub(super) fn new(commands: Vec<Vec<String>>) -> Self {
        Self(Arc::new(SecretBox::new(Box::new(commands))))
    }

    /// The commands with their arguments, the program first. Parse and drop: may hold a token.
    pub fn commands(&self) -> &[Vec<String>] {
        self.0.expose_secret()
    }
}

impl fmt::Debug for ExecStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExecStart([{} hidden])", self.commands().len())
    }
}

/// A moment on both clocks, µs; 0 = never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExecTime {
    pub realtime_us: u64,
    pub monotonic_us: u64,
}

/// A queued or running job; the words are systemd's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    pub id: u32,
    /// `start`, `stop`, `restart` …
    pub kind: String,
    /// `waiting`, `running`
    pub state: String,
}

/// A unit as systemd sees it. Times in µs of the monotonic clock, 0 = never; words are systemd's; a word that this
/// version of systemd does not know is empty.
#[derive(Debug, Clone)]
pub struct UnitState {
    pub load_state: String,
    pub unit_file_state: String,
    pub active_state: String,
    pub sub_state: String,
    pub result: String,
    pub freezer_state: String,
    pub need_daemon_reload: bool,
    pub fragment_path: String,
    pub drop_in_paths: Vec<String>,
    /// 32 hex digits; empty if never started.
    pub invocation_id: String,
    pub job: Option<Job>,
    pub state_change_us: u64,
    pub active_enter_us: u64,
    pub inactive_enter_us: u64,
    pub main_pid: u32,
    /// `CLD_EXITED` 1, `CLD_KILLED` 2, `CLD_DUMPED` 3; 0 = has not ended.
    pub exec_main_code: i32,
    /// Exit status, or the signal if the code is 2 or 3.
    pub exec_main_status: i32,
    pub exec_main_start: ExecTime,
    /// Automatic restarts only; back to 0 at a manual one.
    pub n_restarts: u32,
    /// `u64::MAX` = for ever.
    pub timeout_start_us: u64,
    pub timeout_stop_us: u64,
    pub restart_us: u64,
    /// `no`, `on-failure`, `always` …
    pub restart: String,
    /// `notify`, `simple` …
    pub kind: String,
    /// 15 = SIGTERM.
    pub kill_signal: i32,
    pub dynamic_user: bool,
    /// Units that are started before it.
    pub after: Vec<String>,
    pub start_limit_burst: u32,
    pub start_limit_interval_us: u64,
    /// As configured; empty = root.
    pub user: String,
    /// Of the running process, `None` if not known.
    pub uid: Option<u32>,
    pub exec_start: ExecStart,
    /// The `TUNNEL_*` variables set in the unit.
    pub environment: Vec<(String, SecretString)>,
    /// Each with whether it may be missing.
    pub environment_files: Vec<(String, bool)>,
}

type ExecRow = (String, Vec<String>, bool, u64, u64, u64, u64, u32, i32, i32);

/// Reads both interfaces of the unit, loading it if need be.
pub(super) async fn read(connection: &Connection, name: &str) -> Result<UnitState, SystemdError> {
    let manager = limited(ManagerProxy::new(connection)).await?;
    let path = limited(manager.load_unit(name)).await?;
    let mut unit = Properties::of(connection, &path, UNIT).await?;
    let mut service = Properties::of(connection, &path, SERVICE).await?;
    let (job_id, job_path): (u32, OwnedObjectPath) = unit.take("Job").unwrap_or_default();
    let job = match job_id {
        0 => None,
        id => job(connection, id, &job_path).await?,
    };
    Ok(UnitState::from_properties(&mut unit, &mut service, job))
}

/// Load state, active state and state of the file of a unit of any kind.
pub(super) async fn brief(
    connection: &Connection,
    name: &str,
) -> Result<(String, String, String), SystemdError> {
    let manager = limited(ManagerProxy::new(connection)).await?;
    let path = limited(manager.load_unit(name)).await?;
    let mut unit = Properties::of(connection, &path, UNIT).await?;
    Ok((unit.text("LoadState"), unit.text("ActiveState"), unit.text("UnitFileState")))
}

/// The job, if it is still there.
pub(super) async fn job(connection: &Connection, id: u32, path: &str) -> Result<Option<Job>, SystemdError> {
    match Properties::of(connection, path, JOB).await {
        Ok(mut job) => Ok(Some(Job { id, kind: job.text("JobType"), state: job.text("State") })),
        Err(SystemdError::NoSuchJob(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One property of one object.
pub(super) async fn property(
    connection: &Connection,
    service: &str,
    path: &str,
    interface: &str,
    name: &str,
) -> Result<OwnedVariant, SystemdError> {
    let proxy = properties(connection, service, path).await?;
    let interface = InterfaceName::try_from(interface)?;
    limited(proxy.get(interface, name)).await
}

/// Whether a unit that ends by itself is running now. Loads nothing.
pub(super) async fn at_work(connection: &Connection, unit: &str) -> Result<bool, SystemdError> {
    let manager = limited(ManagerProxy::new(connection)).await?;
    let listed = limited(manager.list_units_by_patterns(&["active", "activating"], &[unit])).await?;
    Ok(!listed.is_empty())
}

/// The command lines of the unit behind `path`.
pub(super) async fn exec_start(connection: &Connection, path: &str) -> Result<ExecStart, SystemdError> {
    let value = property(connection, SYSTEMD, path, SERVICE, "ExecStart").await?;
    Ok(exec(Vec::<ExecRow>::try_from(value).unwrap_or_default()))
}

fn exec(rows: Vec<ExecRow>) -> ExecStart {
    // The path is what is executed; argv[0] may be anything.
    let command = |(path, mut argv, ..): ExecRow| {
        match argv.first_mut() {
            Some(first) => *first = path,
            None => argv.push(path),
        }
        argv
    };
    ExecStart::new(rows.into_iter().map(command).collect())
}

async fn properties<'a>(
    connection: &Connection,
    service: &'a str,
    path: &'a str,
) -> Result<PropertiesProxy<'a>, SystemdError> {
    let builder = PropertiesProxy::builder(connection).destination(service).path(path);
    limited(builder.cache_properties(zbus::proxy::CacheProperties::No).build()).await
}

/// All properties of one interface, taken out one by one.
struct Properties(HashMap<String, OwnedVariant>);

impl Properties {
    async fn of(connection: &Connection, path: &str, interface: &'static str) -> Result<Self, SystemdError> {
        let proxy = properties(connection, SYSTEMD, path).await?;
        let interface = InterfaceName::try_from(interface)?;
        limited(proxy.get_all(interface)).await.map(Self)
    }

    fn take<T: TryFrom<OwnedVariant>>(&mut self, name: &str) -> Option<T> {
        T::try_from(self.0.remove(name)?).ok()
    }

    fn text(&mut self, name: &str) -> String {
        self.take(name).unwrap_or_default()
    }

    fn number<T: TryFrom<OwnedVariant> + Default>(&mut self, name: &str) -> T {
        self.take(name).unwrap_or_default()
    }
}

impl UnitState {
    fn from_properties(unit: &mut Properties, service: &mut Properties, job: Option<Job>) -> Self {
        Self {
            load_state: unit.text("LoadState"),
            unit_file_state: unit.text("UnitFileState"),
            active_state: unit.text("ActiveState"),
            sub_state: unit.text("SubState"),
            result: service.text("Result"),
            freezer_state: unit.text("FreezerState"),
            need_daemon_reload: unit.take("NeedDaemonReload").unwrap_or_default(),
            fragment_path: unit.text("FragmentPath"),
            drop_in_paths: unit.take("DropInPaths").unwrap_or_default(),
            invocation_id: hex(&unit.take::<Vec<u8>>("InvocationID").unwrap_or_default()),
            job,
            state_change_us: unit.number("StateChangeTimestampMonotonic"),
            active_enter_us: unit.number("ActiveEnterTimestampMonotonic"),
            inactive_enter_us: unit.number("InactiveEnterTimestampMonotonic"),
            main_pid: service.number("MainPID"),
            exec_main_code: service.number("ExecMainCode"),
            exec_main_status: service.number("ExecMainStatus"),
            exec_main_start: ExecTime {
                realtime_us: service.number("ExecMainStartTimestamp"),
                monotonic_us: service.number("ExecMainStartTimestampMonotonic"),
            },
            n_restarts: service.number("NRestarts"),
            timeout_start_us: service.number("TimeoutStartUSec"),
            timeout_stop_us: service.number("TimeoutStopUSec"),
            restart_us: service.number("RestartUSec"),
            restart: service.text("Restart"),
            kind: service.text("Type"),
            kill_signal: service.number("KillSignal"),
            dynamic_user: service.take("DynamicUser").unwrap_or_default(),
            after: unit.take("After").unwrap_or_default(),
            start_limit_burst: unit.number("StartLimitBurst"),
            start_limit_interval_us: unit.number("StartLimitIntervalUSec"),
            user: service.text("User"),
            uid: service.take::<u32>("UID").filter(|uid| *uid != u32::MAX),
            exec_start: exec(service.take("ExecStart").unwrap_or_default()),
            environment: tunnel_variables(service.take("Environment").unwrap_or_default()),
            environment_files: service.take("EnvironmentFiles").unwrap_or_default(),
        }
    }
}

fn tunnel_variables(environment: Vec<String>) -> Vec<(String, SecretString)> {
    let pairs = environment.iter().filter_map(|pair| pair.split_once('='));
    let ours = pairs.filter(|(name, _)| name.starts_with("TUNNEL_"));
    ours.map(|(name, value)| (name.to_owned(), SecretString::from(value))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

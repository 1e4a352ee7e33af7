//! Writes down beside the loop: a disk that stalls holds up nobody who watches or asks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinHandle, spawn_blocking};
use tokio::time::{Instant, timeout_at};

use super::Keeper;
use crate::report::journal::{self, Weight};
use crate::store::{IncidentRecord, State, StoreError};

/// Whoever acts or leaves waits for the disk for so long. What was looked at last is not to grow old over it, and a stop is
/// to end before systemd ends it.
pub(in super::super) const DISK_WAITS: Duration = Duration::from_secs(5);
/// Incidents that are over while the disk stalls.
const RECORDS: usize = 16;

/// The state as it was at one moment, by its number.
#[derive(Clone)]
struct Asked {
    number: u64,
    state: Arc<State>,
}

/// What became of the last state that the disk was given.
#[derive(Clone, Copy, Default)]
struct Written {
    number: u64,
    kept: bool,
}

/// Takes what is to be written. Of states only the last counts; one that is overtaken is never written.
pub(in super::super) struct Writer {
    asked: watch::Sender<Option<Asked>>,
    records: mpsc::Sender<IncidentRecord>,
    written: watch::Receiver<Written>,
    task: JoinHandle<()>,
}

impl Writer {
    /// Writes by `keeper` until it is dropped.
    pub(in super::super) fn start(keeper: Arc<Keeper>) -> Self {
        let (asked, states) = watch::channel(None);
        let (records, over) = mpsc::channel(RECORDS);
        let (done, written) = watch::channel(Written::default());
        let task = tokio::spawn(write(keeper, states, over, done));
        Self { asked, records, written, task }
    }

    /// Has the state written, as soon as the disk is free.
    pub(in super::super) fn keep(&mut self, state: State) {
        let number = self.number() + 1;
        self.asked.send_replace(Some(Asked { number, state: Arc::new(state) }));
    }

    /// Has an incident appended to the log.
    pub(in super::super) fn record(&mut self, incident: IncidentRecord) {
        if self.records.try_send(incident).is_err() {
            tracing::warn!(
                "cannot append to the incident log: the disk does not take what was to be written before"
            );
        }
    }

    /// How many states were to be kept until now.
    pub(in super::super) fn number(&self) -> u64 {
        self.asked.borrow().as_ref().map_or(0, |asked| asked.number)
    }

    /// Whether state `number`, or a later one, is on disk or in the runtime directory; known by `until`.
    pub(in super::super) fn kept(
        &self,
        number: u64,
        until: Instant,
    ) -> impl Future<Output = bool> + Send + use<> {
        let mut written = self.written.clone();
        async move {
            let done = timeout_at(until, written.wait_for(|written| number <= written.number)).await;
            // Nothing was to be kept yet, or the last try says whether it is.
            number == 0 || matches!(done, Ok(Ok(written)) if written.kept)
        }
    }

    /// The last: incidents that are over are in the log by `until`, too, if the disk takes them.
    pub(in super::super) async fn finish(self, until: Instant) {
        let Self { asked, records, written: _, task } = self;
        drop((asked, records));
        if timeout_at(until, task).await.is_err() {
            tracing::warn!("the incident log is not complete: the disk takes nothing");
        }
    }
}

async fn write(
    keeper: Arc<Keeper>,
    mut states: watch::Receiver<Option<Asked>>,
    mut over: mpsc::Receiver<IncidentRecord>,
    done: watch::Sender<Written>,
) {
    // Where the state went instead of its usual place, if it did.
    let mut elsewhere = None;
    loop {
        tokio::select! {
            biased;
            changed = states.changed() => {
                if changed.is_err() {
                    break;
                }
                let Some(Asked { number, state }) = states.borrow_and_update().clone() else { continue };
                let by = Arc::clone(&keeper);
                let kept = told(spawn_blocking(move || by.write(&state)).await, &mut elsewhere);
                done.send_replace(Written { number, kept });
            }
            Some(record) = over.recv() => append(&keeper, record).await,
        }
    }
    while let Some(record) = over.recv().await {
        append(&keeper, record).await;
    }
}

async fn append(keeper: &Arc<Keeper>, record: IncidentRecord) {
    let by = Arc::clone(keeper);
    if let Ok(Err(error)) = spawn_blocking(move || by.record(&record)).await {
        tracing::warn!("cannot append to the incident log: {error}");
    }
}

/// Says what became of it, if people should know. True if it is kept.
fn told(
    result: Result<Result<Option<String>, StoreError>, JoinError>,
    elsewhere: &mut Option<String>,
) -> bool {
    let why = match result {
        Ok(Ok(place)) => {
            if let Some(at) = place.as_ref().filter(|_| place != *elsewhere) {
                tracing::warn!("the state directory cannot be written, what must survive is kept in {at}");
            }
            *elsewhere = place;
            return true;
        }
        Ok(Err(error)) => error.to_string(),
        Err(error) => error.to_string(),
    };
    journal::daemon(journal::MEMORY_LOST, Weight::Error, &format!("cannot write the state file: {why}"));
    false
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::super::Places;
    use super::*;
    use crate::warden::history::Histories;
    use crate::warden::time::Now;

    fn over() -> IncidentRecord {
        IncidentRecord {
            id: String::new(),
            tunnel: "cloudflared.service".into(),
            cause: "ConnectorPhantom".into(),
            outcome: "Cured".into(),
            opened_wall: 1_800_000_000_000,
            closed_wall: 1_800_000_060_000,
            steps: Vec::new(),
        }
    }

    /// A pipe that nobody reads takes nothing, as a disk that stalls.
    #[tokio::test]
    async fn a_disk_that_stalls_holds_up_nobody_and_then_gets_what_was_asked_for_last() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places {
            state: folder.path().join("state.toml"),
            cursor: folder.path().join("cursor"),
            incidents: folder.path().join("incidents.jsonl"),
            fallback: folder.path().join("run"),
        };
        let pipe = folder.path().join("state.toml.new");
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        let keeper = Arc::new(Keeper::new(places.clone(), "boot-a".into()));
        let state = |boot| {
            let now = Now { boot: Duration::from_secs(boot), wall: Duration::from_secs(1_800_000_000) };
            keeper.state(&Histories::new(), None, now)
        };
        let kept = |writer: &Writer, millis| {
            let until = Instant::now() + Duration::from_millis(millis);
            writer.kept(writer.number(), until)
        };
        let mut writer = Writer::start(Arc::clone(&keeper));
        assert!(kept(&writer, 200).await, "nothing was to be kept");
        writer.keep(state(1001));
        assert!(!kept(&writer, 200).await);
        for boot in 1002..1100 {
            writer.keep(state(boot));
        }
        assert!(!kept(&writer, 200).await);
        assert!(!places.state.exists());
        // The pipe cannot be made durable: what it took is lost. What came after is written where it belongs.
        drop(std::fs::File::open(&pipe).unwrap());
        assert!(kept(&writer, 20_000).await);
        assert!(std::fs::read_to_string(&places.state).unwrap().contains("boot = 1099000"));
        // What is over when we leave is in the log.
        for id in ["a-1", "b-1"] {
            writer.record(IncidentRecord { id: id.into(), ..over() });
        }
        writer.keep(state(1100));
        writer.finish(Instant::now() + Duration::from_secs(20)).await;
        let log = std::fs::read_to_string(&places.incidents).unwrap();
        assert!(log.contains("a-1") && log.contains("b-1"), "{log}");
    }
}

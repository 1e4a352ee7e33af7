//! The frame of every polled sense: it owns period, jitter, deadline and the last look; a probe only looks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout};

/// A last look: everybody looks at once and counts as done when it has.
#[derive(Debug)]
pub struct Look {
    pub limit: Duration,
    done: Semaphore,
}

impl Look {
    pub fn new(limit: Duration) -> Self {
        Self { limit, done: Semaphore::new(0) }
    }

    fn finished(&self) {
        self.done.add_permits(1);
    }

    /// Waits until `probes` have looked, or for a little longer than their limit.
    pub async fn wait(&self, probes: usize) {
        let many = u32::try_from(probes).unwrap_or(u32::MAX);
        let limit = self.limit + Duration::from_millis(500);
        // Late ones have been counted as blind by their own frame.
        if timeout(limit, self.done.acquire_many(many)).await.is_err() {
            tracing::debug!("a last look ended by its limit");
        }
    }
}

/// How probes are to go about it.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    pub hurry: bool,
    pub look: Option<Arc<Look>>,
}

/// Periods and limit of one probe.
#[derive(Clone, Copy, Debug)]
pub struct Periods {
    pub calm: Duration,
    pub hurried: Duration,
    pub limit: Duration,
    /// Wait before the first look, so that many probes do not start together.
    pub delay: Duration,
}

/// Runs `probe` for ever at its pace. `blind` is told when a look took longer than its limit.
pub async fn poll(
    periods: Periods,
    mut pace: watch::Receiver<Pace>,
    mut probe: impl AsyncFnMut(Duration),
    mut blind: impl AsyncFnMut(),
) {
    let mut looked: Option<Arc<Look>> = None;
    let mut hurried = pace.borrow().hurry;
    let mut next = Instant::now() + periods.delay;
    loop {
        let changed = tokio::select! {
            () = sleep_until(next) => false,
            changed = pace.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
        };
        let now_pace = pace.borrow_and_update().clone();
        let fresh_look = now_pace.look.clone().filter(|look| !same(Some(look), looked.as_ref()));
        if changed && fresh_look.is_none() {
            // A change to hurry looks at once; a change to calm waits from here.
            let soon = now_pace.hurry && !hurried;
            hurried = now_pace.hurry;
            let period = if hurried { periods.hurried } else { periods.calm };
            next = if soon { Instant::now() } else { next.min(Instant::now() + period) };
            continue;
        }
        hurried = now_pace.hurry;
        let began = Instant::now();
        let limit = fresh_look.as_ref().map_or(periods.limit, |look| look.limit.min(periods.limit));
        let interrupted = tokio::select! {
            result = timeout(limit + Duration::from_millis(100), probe(limit)) => {
                if result.is_err() {
                    blind().await;
                }
                false
            }
            // A last look does not wait for a look that is under way.
            () = new_look(&mut pace, fresh_look.as_ref().or(looked.as_ref()).cloned()) => true,
        };
        if let Some(look) = fresh_look {
            if !interrupted {
                look.finished();
            }
            looked = Some(look);
        }
        let period = if hurried { periods.hurried } else { periods.calm };
        next = if interrupted { Instant::now() } else { (began + jittered(period)).max(Instant::now()) };
    }
}

fn same(a: Option<&Arc<Look>>, b: Option<&Arc<Look>>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

async fn new_look(pace: &mut watch::Receiver<Pace>, known: Option<Arc<Look>>) {
    let is_new = |pace: &Pace| pace.look.is_some() && !same(pace.look.as_ref(), known.as_ref());
    if pace.wait_for(is_new).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Five per cent either way, so that hosts and probes do not march in step.
pub fn jittered(period: Duration) -> Duration {
    let part = crate::clock::now().boot.subsec_micros() % 101;
    period * (950 + part) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::rc::Rc;

    fn periods() -> Periods {
        let second = Duration::from_secs(1);
        Periods { calm: second * 15, hurried: second * 5, limit: second * 2, delay: Duration::ZERO }
    }

    #[tokio::test(start_paused = true)]
    async fn a_hurry_looks_at_once_and_a_last_look_interrupts_a_slow_one() {
        let (tx, rx) = watch::channel(Pace::default());
        let looks = Rc::new(Cell::new(0));
        let slow = Rc::new(Cell::new(false));
        let (counted, is_slow) = (Rc::clone(&looks), Rc::clone(&slow));
        let local = tokio::task::LocalSet::new();
        local.spawn_local(poll(
            periods(),
            rx,
            async move |limit| {
                counted.set(counted.get() + 1);
                if is_slow.get() {
                    tokio::time::sleep(limit / 2).await;
                }
            },
            async || (),
        ));
        local
            .run_until(async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                assert_eq!(looks.get(), 1);
                tx.send_modify(|pace| pace.hurry = true);
                tokio::time::sleep(Duration::from_millis(10)).await;
                assert_eq!(looks.get(), 2);
                slow.set(true);
                tokio::time::sleep(Duration::from_millis(5300)).await;
                assert_eq!(looks.get(), 3, "one is under way");
                let look = Arc::new(Look::new(Duration::from_secs(2)));
                let began = Instant::now();
                tx.send_modify(|pace| pace.look = Some(Arc::clone(&look)));
                look.wait(1).await;
                assert!(began.elapsed() < Duration::from_secs(2));
                assert_eq!(looks.get(), 4);
            })
            .await;
    }
}

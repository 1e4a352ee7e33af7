//! The frame of every polled sense: it owns period, jitter, deadline and the last look; a probe only looks.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

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

/// Lanes for looks of one kind: so many at once use the processor, and so many more may wait for an answer.
#[derive(Debug)]
pub struct Lanes {
    quick: Semaphore,
    slow: Semaphore,
}

/// A look that takes longer waits for somebody, and gives its lane to another.
const SLOW_AFTER: Duration = Duration::from_millis(500);
/// Woken this much too late: it is the processor that is waited for.
const OVERLOADED: Duration = Duration::from_millis(250);

impl Lanes {
    pub fn new(quick: usize, slow: usize) -> Self {
        Self { quick: Semaphore::new(quick), slow: Semaphore::new(slow) }
    }

    /// Runs `look` when there is a lane for it; its time begins then.
    async fn pass<T>(&self, look: impl Future<Output = T>) -> T {
        // They are never closed.
        let lane = self.quick.acquire().await;
        let (mut look, began) = (std::pin::pin!(look), Instant::now());
        tokio::select! {
            biased;
            done = &mut look => return done,
            () = sleep(SLOW_AFTER) => (),
        }
        let waiting = self.slow.try_acquire();
        if waiting.is_ok() && began.elapsed() < SLOW_AFTER + OVERLOADED {
            drop(lane);
        }
        look.await
    }
}

/// The turn of one probe among many of its kind, so that they spread over time and share what the host can give.
#[derive(Clone, Debug)]
pub struct Turn {
    pub lanes: Arc<Lanes>,
    /// When hurry begins, it looks after this time.
    pub hurried: Duration,
    /// When calm begins, it looks after this time.
    pub calm: Duration,
    /// Its period after a look that saw nothing, at least. Such looks cost the most, and a host that is too slow for them does
    /// not get faster by more of them.
    pub blind: Duration,
    /// It takes part in last looks.
    pub last_looks: bool,
}

/// Runs `probe` for ever at its pace. `blind` is told when a look took longer than its limit.
pub async fn poll(
    periods: Periods,
    pace: watch::Receiver<Pace>,
    mut probe: impl AsyncFnMut(Duration),
    blind: impl AsyncFnMut(),
) {
    let saw = async move |limit| {
        probe(limit).await;
        true
    };
    run(periods, None, pace, saw, blind).await;
}

/// The same among many of its kind. `probe` says whether it saw anything.
pub async fn poll_in_turn(
    periods: Periods,
    turn: Turn,
    pace: watch::Receiver<Pace>,
    probe: impl AsyncFnMut(Duration) -> bool,
    blind: impl AsyncFnMut(),
) {
    run(periods, Some(turn), pace, probe, blind).await;
}

async fn run(
    periods: Periods,
    turn: Option<Turn>,
    mut pace: watch::Receiver<Pace>,
    mut probe: impl AsyncFnMut(Duration) -> bool,
    mut blind: impl AsyncFnMut(),
) {
    let takes_part = turn.as_ref().is_none_or(|turn| turn.last_looks);
    let mut saw = true;
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
        let fresh_look =
            now_pace.look.clone().filter(|look| takes_part && !same(Some(look), looked.as_ref()));
        if changed && fresh_look.is_none() {
            // A change to hurry looks at once; a change to calm waits from here. Of many, each in its turn.
            let (before, now) = (hurried, Instant::now());
            hurried = now_pace.hurry;
            next = match (&turn, before, hurried) {
                (Some(turn), false, true) => next.min(now + turn.hurried),
                (None, false, true) => now,
                (Some(turn), true, false) => now + turn.calm,
                (_, _, true) => next.min(now + periods.hurried),
                (_, _, false) => next.min(now + periods.calm),
            };
            continue;
        }
        let mut began = Instant::now();
        let limit = fresh_look.as_ref().map_or(periods.limit, |look| look.limit.min(periods.limit));
        let look = async {
            began = Instant::now();
            timeout(limit + Duration::from_millis(100), probe(limit)).await
        };
        let seen = async {
            match turn.as_ref().filter(|_| fresh_look.is_none()) {
                Some(turn) => turn.lanes.pass(look).await,
                None => look.await,
            }
        };
        let interrupted = tokio::select! {
            seen = seen => {
                saw = seen == Ok(true);
                if seen.is_err() {
                    blind().await;
                }
                false
            }
            // A last look does not wait for a look that is under way.
            () = new_look(&mut pace, fresh_look.as_ref().or(looked.as_ref()).cloned(), takes_part) => true,
        };
        if let Some(look) = fresh_look {
            if !interrupted {
                look.finished();
            }
            looked = Some(look);
        }
        // Whoever watched for a last look has taken a change of pace for seen.
        hurried = pace.borrow().hurry;
        let period = if hurried { periods.hurried } else { periods.calm };
        let period = match &turn {
            Some(turn) if !saw => period.max(turn.blind),
            Some(_) | None => period,
        };
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

async fn new_look(pace: &mut watch::Receiver<Pace>, known: Option<Arc<Look>>, takes_part: bool) {
    let is_new = |pace: &Pace| takes_part && pace.look.is_some() && !same(pace.look.as_ref(), known.as_ref());
    if pace.wait_for(is_new).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Five per cent either way, so that hosts and probes do not march in step. Drawn from the runtime's own clock: under one that
/// stands still until it is moved, everything comes at the same times again.
pub fn jittered(period: Duration) -> Duration {
    thread_local!(static BEGAN: Instant = Instant::now());
    let part = BEGAN.with(Instant::elapsed).subsec_micros() % 101;
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

    #[tokio::test(start_paused = true)]
    async fn a_hurry_that_begins_while_one_looks_is_not_lost() {
        let (tx, rx) = watch::channel(Pace::default());
        let looks = Rc::new(Cell::new(0));
        let counted = Rc::clone(&looks);
        let local = tokio::task::LocalSet::new();
        let look = async move |_| {
            counted.set(counted.get() + 1);
            sleep(Duration::from_secs(1)).await;
        };
        local.spawn_local(poll(periods(), rx, look, async || ()));
        local
            .run_until(async {
                sleep(Duration::from_millis(500)).await;
                tx.send_modify(|pace| pace.hurry = true);
                sleep(Duration::from_secs(6)).await;
                assert_eq!(looks.get(), 2, "the next one is due after five seconds");
            })
            .await;
    }

    /// Looks of many probes, by the second in which they began.
    fn many(
        local: &tokio::task::LocalSet,
        number: u32,
        lanes: &Arc<Lanes>,
        pace: &watch::Receiver<Pace>,
        takes: impl Fn(u32) -> Duration,
        saw: bool,
    ) -> Rc<std::cell::RefCell<Vec<(u32, Duration)>>> {
        let looks = Rc::new(std::cell::RefCell::new(Vec::new()));
        let began = Instant::now();
        for place in 0..number {
            let turn = Turn {
                lanes: Arc::clone(lanes),
                hurried: Duration::from_millis(20) * place,
                calm: Duration::from_secs(60) * place / number,
                blind: Duration::from_secs(60),
                last_looks: place.is_multiple_of(10),
            };
            let second = Duration::from_secs(1);
            let hurried = Duration::from_millis(20) * number;
            let periods = Periods {
                calm: second * 60,
                hurried,
                limit: second * 5,
                delay: Duration::from_millis(20) * place,
            };
            let (looks, takes) = (Rc::clone(&looks), takes(place));
            local.spawn_local(poll_in_turn(
                periods,
                turn,
                pace.clone(),
                async move |_| {
                    looks.borrow_mut().push((place, began.elapsed()));
                    sleep(takes).await;
                    saw
                },
                async || (),
            ));
        }
        looks
    }

    #[tokio::test(start_paused = true)]
    async fn many_spread_over_time_and_a_slow_one_delays_no_other() {
        let (tx, rx) = watch::channel(Pace { hurry: true, look: None });
        let (local, lanes) = (tokio::task::LocalSet::new(), Arc::new(Lanes::new(4, 64)));
        // Fifty of five hundred hang; they alone would fill the four lanes for a minute.
        let takes = |place: u32| Duration::from_millis(if place.is_multiple_of(10) { 4900 } else { 20 });
        let looks = many(&local, 500, &lanes, &rx, takes, true);
        local
            .run_until(async {
                sleep(Duration::from_secs(30)).await;
                let worst = |from: u64, to: u64| {
                    let looks = looks.borrow();
                    let within = |at: &Duration| (from..to).contains(&at.as_secs());
                    let per_second = |second| looks.iter().filter(|(_, at)| at.as_secs() == second).count();
                    let quick: Vec<_> = (0..500)
                        .map(|place| looks.iter().filter(|(of, at)| *of == place && within(at)).count())
                        .collect();
                    ((from..to).map(per_second).max().unwrap(), quick.iter().copied().min().unwrap())
                };
                // Fifty a second on the average; the jitter makes waves.
                let (most, least) = worst(0, 25);
                assert!(most <= 70 && 2 <= least, "{most} in a second, {least} in two rounds");
                tx.send_modify(|pace| pace.hurry = false);
                sleep(Duration::from_secs(150)).await;
                let (most, least) = worst(90, 156);
                assert!(most <= 25 && 1 <= least, "{most} in a second of calm, {least} in a period");
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_sees_nothing_is_not_hurried_and_a_last_look_is_a_sample() {
        let (tx, rx) = watch::channel(Pace { hurry: true, look: None });
        let (local, lanes) = (tokio::task::LocalSet::new(), Arc::new(Lanes::new(4, 64)));
        let looks = many(&local, 100, &lanes, &rx, |_| Duration::from_millis(10), false);
        local
            .run_until(async {
                sleep(Duration::from_secs(50)).await;
                assert_eq!(looks.borrow().len(), 100, "one each in a minute, though all are in a hurry");
                let look = Arc::new(Look::new(Duration::from_secs(2)));
                let began = Instant::now();
                tx.send_modify(|pace| pace.look = Some(Arc::clone(&look)));
                look.wait(10).await;
                assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
                assert_eq!(looks.borrow().len(), 110);
            })
            .await;
    }
}

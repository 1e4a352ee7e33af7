use std::time::Duration;

use tokio::time::timeout;

use super::*;

fn options(units: &[&str]) -> Options {
    let units = units.iter().map(|unit| (*unit).to_owned()).collect();
    Options { units, cursor: None, history: 200, directory: None }
}

#[tokio::test]
async fn a_journal_that_is_not_there_is_blind_and_the_thread_ends() {
    let directory = tempfile::tempdir().unwrap();
    let mut options = options(&["cloudflared.service"]);
    options.directory = Some(directory.path().into());
    let (handle, mut events) = follow(options).unwrap();
    let first = timeout(Duration::from_secs(5), events.recv()).await.unwrap();
    assert_eq!(first, Some(JournalEvent::Blind(Blind::NoJournal)));
    drop(handle);
    assert_eq!(timeout(Duration::from_secs(5), events.recv()).await.unwrap(), None);
}

//! Changes in folders, as the kernel tells them (inotify).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Folders that are watched, without what lies deeper in them.
#[derive(Debug)]
pub struct FileChanges {
    inotify: AsyncFd<OwnedFd>,
}

impl FileChanges {
    /// Watches `folders`. One that does not exist, or may not be looked into, is left out.
    ///
    /// # Errors
    /// The kernel gives no more watches to this user.
    pub fn of<'a>(folders: impl IntoIterator<Item = &'a Path>) -> std::io::Result<Self> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let what = WatchFlags::CLOSE_WRITE
            | WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ATTRIB;
        for folder in folders {
            if let Err(error) = inotify::add_watch(&inotify, folder, what) {
                tracing::debug!("changes in {} will not be noticed: {error}", folder.display());
            }
        }
        #[expect(
            unsafe_code,
            reason = "the descriptor is owned by what it is registered with, and never replaced"
        )]
        let inotify = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE)? };
        Ok(Self { inotify })
    }

    /// Waits for a change; several at once are one.
    ///
    /// # Errors
    /// The kernel tells no more.
    pub async fn changed(&self) -> std::io::Result<()> {
        let mut ready = self.inotify.readable().await?;
        let mut buffer = [0; 4096];
        // What it was does not matter, so it is only read away.
        loop {
            match rustix::io::read(self.inotify.get_ref(), &mut buffer) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => (),
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_file_that_is_written_or_replaced_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let changes = FileChanges::of([folder.path(), Path::new("/no/such/folder")]).unwrap();
        let soon = Duration::from_secs(5);
        std::fs::write(folder.path().join("config.yml"), "tunnel: a").unwrap();
        timeout(soon, changes.changed()).await.unwrap().unwrap();
        std::fs::write(folder.path().join("new"), "tunnel: b").unwrap();
        std::fs::rename(folder.path().join("new"), folder.path().join("config.yml")).unwrap();
        timeout(soon, changes.changed()).await.unwrap().unwrap();
        assert!(timeout(Duration::from_millis(200), changes.changed()).await.is_err(), "nothing changed");
    }
}

//! Who may read and change a file.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// A file as the file system knows it; links are followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    pub uid: u32,
    pub gid: u32,
    /// The twelve lower bits.
    pub mode: u32,
    pub is_file: bool,
    /// A folder on the way to it that others than its owner may change, and so put another file there.
    pub open_folder: Option<PathBuf>,
    /// The root of a git work tree that it lies in.
    pub work_tree: Option<PathBuf>,
}

impl Access {
    /// Others than the owner and the group may read it.
    pub fn for_everyone(&self) -> bool {
        self.mode & 0o004 != 0
    }

    pub fn for_group(&self) -> bool {
        self.mode & 0o040 != 0
    }
}

/// Looks at a file without opening it.
///
/// # Errors
/// It is missing, or a folder on the way may not be searched.
pub fn look(path: &Path) -> std::io::Result<Access> {
    let path = std::fs::canonicalize(path)?;
    let data = std::fs::metadata(&path)?;
    let folders = || path.ancestors().skip(1);
    let open = |folder: &&Path| {
        // The sticky bit keeps others from replacing what is there.
        std::fs::metadata(folder).is_ok_and(|data| data.mode() & 0o022 != 0 && data.mode() & 0o1000 == 0)
    };
    Ok(Access {
        uid: data.uid(),
        gid: data.gid(),
        mode: data.mode() & 0o7777,
        is_file: data.is_file(),
        open_folder: folders().find(open).map(Path::to_path_buf),
        work_tree: folders().find(|folder| folder.join(".git").exists()).map(Path::to_path_buf),
    })
}

/// The id of a user of this host, by `/etc/passwd` alone.
pub fn uid_of(name: &str) -> Option<u32> {
    let field = |line: &str, at: usize| line.split(':').nth(at).map(str::to_owned);
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let line = users.lines().find(|line| field(line, 0).as_deref() == Some(name))?;
    field(line, 2)?.parse().ok()
}

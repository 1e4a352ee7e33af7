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
    Some(user_of(name)?.0)
}

/// The ids of a user of this host and of its own group, by name or number and by `/etc/passwd` alone.
pub fn user_of(user: &str) -> Option<(u32, u32)> {
    let fields = entry("/etc/passwd", user)?;
    Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
}

/// The home of a user of this host, by name or number.
pub fn home_of(user: &str) -> Option<PathBuf> {
    Some(PathBuf::from(entry("/etc/passwd", user)?.get(5)?)).filter(|home| home.is_absolute())
}

/// The id of a group of this host, by name or number.
pub fn gid_of(group: &str) -> Option<u32> {
    group.parse().ok().or_else(|| entry("/etc/group", group)?.get(2)?.parse().ok())
}

/// The fields of the line that begins with this name, or has this number as its third.
fn entry(file: &str, key: &str) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(file).ok()?;
    let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let number = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
    let fields = lines.find(|fields| fields.get(if number { 2 } else { 0 }) == Some(&key))?;
    Some(fields.into_iter().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_known_with_its_own_group_by_name_and_by_number() {
        let users = std::fs::read_to_string("/etc/passwd").unwrap();
        let fields = |line: &'static str| line.split(':').collect::<Vec<_>>();
        let users: &'static str = users.leak();
        let other = users.lines().map(fields).find(|user| user[2] != user[3]);
        let user = other.expect("a user whose group has another number");
        let ids = (user[2].parse().unwrap(), user[3].parse().unwrap());
        assert_eq!((user_of(user[0]), user_of(user[2])), (Some(ids), Some(ids)));
        assert_eq!((user_of("nobody-at-all"), user_of("")), (None, None));
        assert_eq!((gid_of("root"), gid_of("4711"), gid_of("no-such-group")), (Some(0), Some(4711), None));
    }
}

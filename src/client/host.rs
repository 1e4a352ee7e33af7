//! Small facts that the kernel tells about this host.

use std::path::Path;
use std::time::Duration;

/// A file of `/proc` that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {path}")]
pub struct HostError {
    path: String,
    #[source]
    source: std::io::Error,
}

/// A default route exists, by IPv4 or IPv6, over a link that is not down.
///
/// # Errors
/// Neither routing table can be read.
pub fn default_route() -> Result<bool, HostError> {
    let four = read("/proc/net/route").map(|table| has_default_v4(&table, &link));
    let six = read("/proc/net/ipv6_route").map(|table| has_default_v6(&table, &link));
    match (four, six) {
        (Ok(four), Ok(six)) => Ok(four || six),
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(error), Err(_)) => Err(error),
    }
}

/// Whether a network device has its link. A route of a device whose cable is out stays in the table. A device that
/// tells nothing (a tunnel, say, is `unknown`) is taken at its word.
fn link(device: &str) -> bool {
    let state = read(&format!("/sys/class/net/{device}/operstate")).unwrap_or_default();
    !matches!(state.trim(), "down" | "lowerlayerdown" | "notpresent" | "dormant")
}

/// `/proc/net/route` holds a usable default route: destination and mask 0, flag up, not a reject route. A default
/// that a VPN splits into two halves (0/1 and 128/1) counts too. `link` says whether a device has its link.
pub fn has_default_v4(table: &str, link: &dyn Fn(&str) -> bool) -> bool {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    // As the kernel prints them: network byte order read as a little-endian number.
    let halves = [("00000000", "00000080"), ("00000080", "00000080")];
    let routes: Vec<(&str, &str)> = table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
            let usable = flags & UP != 0 && flags & REJECT == 0 && link(fields.first()?);
            usable.then_some((*fields.get(1)?, *fields.get(7)?))
        })
        .collect();
    routes.contains(&("00000000", "00000000")) || halves.iter().all(|half| routes.contains(half))
}

/// `/proc/net/ipv6_route` holds a usable default route; the kernel's own `::/0` reject route on `lo` is none.
pub fn has_default_v6(table: &str, link: &dyn Fn(&str) -> bool) -> bool {
    const UP: u32 = 0x1;
    const REJECT: u32 = 0x200;
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(to), Some(length), Some(flags), Some(device)) =
            (fields.first(), fields.get(1), fields.get(8), fields.get(9))
        else {
            return false;
        };
        let Ok(flags) = u32::from_str_radix(flags, 16) else { return false };
        to.len() == 32
            && to.bytes().all(|b| b == b'0')
            && *length == "00"
            && *device != "lo"
            && flags & UP != 0
            && flags & REJECT == 0
            && link(device)
    })
}

/// Files that package managers lock for as long as they change what is installed. Nobody else may read some of them, but
/// everybody may look at their number.
const PACKAGE_LOCKS: [&str; 5] = [
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/rpm/.rpm.lock",
    "/usr/lib/sysimage/rpm/.rpm.lock",
    "/var/cache/dnf/metadata_lock.pid",
];

/// A file that is there only while pacman works.
const PACMAN: &str = "/var/lib/pacman/db.lck";

/// A package manager is changing what is installed on this host.
pub fn package_manager_at_work() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    if Path::new(PACMAN).exists() {
        return true;
    }
    let Ok(locks) = read("/proc/locks") else { return false };
    PACKAGE_LOCKS.iter().filter_map(|path| std::fs::metadata(path).ok()).any(|file| {
        let (major, minor) = (rustix::fs::major(file.dev()), rustix::fs::minor(file.dev()));
        is_locked(&locks, major, minor, file.ino())
    })
}

/// `/proc/locks` holds a lock for writing on this file. Of a device without a number of its own (btrfs, overlay) `stat`
/// and the kernel's table know different ones, so there the file's number alone counts.
fn is_locked(locks: &str, major: u32, minor: u32, inode: u64) -> bool {
    locks.lines().any(|line| {
        // A waiting one is written after its number with an arrow.
        let Some(place) = line.split_once(" WRITE ").and_then(|(before, rest)| {
            (!before.contains("->")).then(|| rest.split_whitespace().nth(1)).flatten()
        }) else {
            return false;
        };
        let mut parts = place.split(':');
        let hex = |part: Option<&str>| u32::from_str_radix(part?, 16).ok();
        let (Some(its_major), Some(its_minor)) = (hex(parts.next()), hex(parts.next())) else { return false };
        let same_device = (its_major, its_minor) == (major, minor) || its_major == 0 && major == 0;
        same_device && parts.next().and_then(|part| part.parse().ok()) == Some(inode)
    })
}

/// The id of this boot, or `None` where `/proc/sys` is hidden from us (`ProcSubset=pid`) and the start time of the
/// system cannot be read either.
///
/// The fallback is not the kernel's id but `btime-N`, the Unix second of the boot, which moves when the clock is set:
/// a reader that compares ids of different forms must take them as unknown, not as another boot.
pub fn boot_id() -> Option<String> {
    let id = read("/proc/sys/kernel/random/boot_id").ok().map(|text| text.trim().to_owned());
    id.filter(|id| id.len() == 36)
        .or_else(|| btime(&read("/proc/stat").ok()?).map(|second| format!("btime-{second}")))
}

fn btime(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// When a file was last changed, as Unix time; symbolic links are followed.
///
/// # Errors
/// The file is missing or may not be looked at.
pub fn modified(path: &Path) -> std::io::Result<Duration> {
    let time = std::fs::metadata(path)?.modified()?;
    Ok(time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default())
}

/// When what lies at a path was put there, Unix time. A package manager gives its files the times of their making, which
/// may be long past, so the change of the file's entry (`ctime`) counts too. A change of mode or owner moves that as well.
///
/// # Errors
/// The file is missing or may not be looked at.
pub fn installed(path: &Path) -> std::io::Result<Duration> {
    use std::os::unix::fs::MetadataExt as _;
    let file = std::fs::metadata(path)?;
    let at = |seconds: i64, nanos: i64| {
        Duration::from_secs(u64::try_from(seconds).unwrap_or(0))
            + Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
    };
    Ok(at(file.mtime(), file.mtime_nsec()).max(at(file.ctime(), file.ctime_nsec())))
}

fn read(path: &str) -> Result<String, HostError> {
    std::fs::read_to_string(path).map_err(|source| HostError { path: path.into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";

    #[test]
    fn default_route_v4() {
        let cases = [
            ("eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n", true),
            ("eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t00FFFFFF\t0\t0\t0\n", false),
            ("*\t00000000\t00000000\t0200\t0\t0\t0\t00000000\t0\t0\t0\n", false),
            ("eth0\t00000000\t0100A8C0\t0002\t0\t0\t100\t00000000\t0\t0\t0\n", false),
            (
                "tun0\t00000000\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n\
                 tun0\t00000080\t0100080A\t0003\t0\t0\t0\t00000080\t0\t0\t0\n",
                true,
            ),
            ("", false),
            ("nonsense\n", false),
        ];
        for (text, expected) in cases {
            assert_eq!(has_default_v4(&format!("{HEAD}{text}"), &|_| true), expected, "{text}");
        }
        assert!(!has_default_v4("", &|_| true));
        let plugged_out = "eth0\t00000000\t0100A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n";
        assert!(!has_default_v4(&format!("{HEAD}{plugged_out}"), &|device| device != "eth0"));
    }

    #[test]
    fn default_route_v6() {
        let zero = "0".repeat(32);
        let line = |flags: &str, device: &str| {
            format!(
                "{zero} 00 {zero} 00 fe800000000000000000000000000001 00000400 00000001 00000000 {flags} {device}\n"
            )
        };
        assert!(has_default_v6(&line("00450003", "eth0"), &|_| true));
        assert!(!has_default_v6(&line("00450003", "eth0"), &|_| false));
        assert!(!has_default_v6(&line("00200200", "lo"), &|_| true));
        assert!(!has_default_v6(&line("00200201", "eth0"), &|_| true));
        assert!(!has_default_v6("short line\n", &|_| true));
    }

    #[test]
    fn locks_are_found_by_device_and_number() {
        let table = "1: FLOCK  ADVISORY  WRITE 660 00:1a:3317 0 EOF\n\
                     2: POSIX  ADVISORY  WRITE 4711 08:01:131089 0 EOF\n\
                     2: -> POSIX  ADVISORY  WRITE 4712 08:01:131090 0 EOF\n\
                     3: POSIX  ADVISORY  READ 4713 08:01:131091 0 EOF\n";
        assert!(is_locked(table, 8, 1, 131_089));
        assert!(!is_locked(table, 8, 2, 131_089), "another device");
        assert!(!is_locked(table, 8, 1, 131_090), "only waited for");
        assert!(!is_locked(table, 8, 1, 131_091), "only read");
        assert!(is_locked(table, 0, 0x2f, 3317), "a device without a number");
        assert!(!is_locked("nonsense WRITE\n", 8, 1, 1));
    }

    #[test]
    fn boot_of_stat() {
        assert_eq!(btime("cpu 1 2\nbtime 1763900000\nprocesses 4\n"), Some(1_763_900_000));
        assert_eq!(btime("btime many\n"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC*") {
            has_default_v4(&text, &|_| true);
            has_default_v6(&text, &|_| true);
            is_locked(&text, 8, 1, 7);
            btime(&text);
        }
    }

    #[test]
    fn what_a_package_puts_in_place_is_new_however_old_it_says_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cloudflared");
        std::fs::write(&path, "old").unwrap();
        let long_ago = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(long_ago).unwrap();
        assert_eq!(modified(&path).unwrap(), Duration::from_secs(1_000_000_000));
        assert!(Duration::from_secs(1_700_000_000) < installed(&path).unwrap());
        assert!(installed(&folder.path().join("none")).is_err());
    }
}

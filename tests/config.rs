//! The configuration as a user meets it: files in folders, the environment, and what is said of both.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tunnelwarden::config::{self, ConfigErrors, Loaded, Mode, Roots};

#[path = "config/chance.rs"]
mod chance;

/// A root of its own, with files in it.
struct Host {
    root: tempfile::TempDir,
}

const MAIN: &str = "etc/tunnelwarden/tunnelwarden.toml";

impl Host {
    fn with(files: &[(&str, &str)]) -> Self {
        let host = Self { root: tempfile::tempdir().unwrap() };
        for (path, text) in files {
            fs::write(host.at(path), text).unwrap();
        }
        host
    }

    /// Makes the folders on the way.
    fn at(&self, path: &str) -> PathBuf {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn load(&self, env: &[(&str, &str)]) -> Result<Loaded, ConfigErrors> {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        config::load(&Roots::under(self.root.path()), env)
    }

    /// What is said, with paths as on a host.
    fn complaint(&self, env: &[(&str, &str)]) -> String {
        self.told(&self.load(env).unwrap_err().to_string())
    }

    fn told(&self, text: &str) -> String {
        text.replace(&self.root.path().display().to_string(), "")
    }
}

fn files(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(folder);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    files.sort();
    files
}

#[test]
fn no_configuration_at_all_is_fine() {
    let loaded = Host::with(&[]).load(&[("PATH", "/bin"), ("TUNNELWARDE", "x")]).unwrap();
    let settings = loaded.settings;
    assert!(loaded.sources.is_empty() && loaded.warnings.is_empty() && settings.tunnels.is_empty());
    assert_eq!(settings.mode, Mode::Remedy);
    assert_eq!(settings.probe.period, Duration::from_secs(15));
    assert_eq!(settings.remedy.cooldown.last(), Some(&Duration::from_secs(1800)));
    assert_eq!(settings.http.listen.to_string(), "127.0.0.1:9733");
}

/// Each bad file lies beside its exact message. `UPDATE_EXPECTED=1` writes the messages anew.
#[test]
fn bad_files_say_where_and_what_instead() {
    let mut different = Vec::new();
    for path in files("bad") {
        let said = Host::with(&[(MAIN, &fs::read_to_string(&path).unwrap())]).complaint(&[]) + "\n";
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &said).unwrap();
        }
        let expected = fs::read_to_string(&expected).unwrap_or_default();
        if said != expected {
            different.push(format!("--- {}\n{said}+++ expected\n{expected}", path.display()));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn no_message_repeats_a_secret() {
    let secrets = ["hunter2", "eyJ", "cfut_", "cfat_", "0123456789abcdef01234", "6a1f6c8a"];
    for path in files("bad") {
        let host = Host::with(&[(MAIN, &fs::read_to_string(&path).unwrap())]);
        let errors = host.load(&[]).unwrap_err();
        let said = format!("{errors}\n{errors:?}\n{errors:#?}");
        for secret in secrets {
            assert!(!said.contains(secret), "{}: {said}", path.display());
        }
    }
}

#[test]
fn good_files_load_and_are_shown_as_they_would_be_written() {
    for path in files("good") {
        let loaded = Host::with(&[(MAIN, &fs::read_to_string(&path).unwrap())]).load(&[]);
        let settings = loaded.unwrap_or_else(|error| panic!("{}: {error}", path.display())).settings;
        let shown = config::show(&settings);
        let again =
            Host::with(&[(MAIN, &shown)]).load(&[]).unwrap_or_else(|error| panic!("{error}\n{shown}"));
        assert_eq!(again.settings, settings);
    }
}

#[test]
fn what_is_shown_hides_secrets() {
    let text = "[[tunnel]]\n[[tunnel.probe]]\nurl = \"https://app.example.com/\"\nexpect_header = \"x-api-key: hunter2\"\n\
                expect_body = \"token: hunter2\"\n";
    let settings = Host::with(&[(MAIN, text)]).load(&[]).unwrap().settings;
    let shown = config::show(&settings);
    assert!(shown.contains("expect_header = \"(hidden)\"") && !shown.contains("hunter2"), "{shown}");
}

#[test]
fn what_may_not_be_meant_is_a_warning() {
    let text =
        fs::read_to_string(files("good").into_iter().find(|path| path.ends_with("everything.toml")).unwrap());
    let host = Host::with(&[(MAIN, &text.unwrap())]);
    fs::write(host.at("etc/tunnelwarden/conf.d/50-old.toml.dpkg-old"), "nonsense").unwrap();
    let warnings: Vec<String> = host.load(&[]).unwrap().warnings.iter().map(|text| host.told(text)).collect();
    let begins = [
        "/etc/tunnelwarden/conf.d/50-old.toml.dpkg-old is not read",
        "/etc/tunnelwarden/tunnelwarden.toml:43: remedy.transport_fallback has no effect yet",
        "/etc/tunnelwarden/tunnelwarden.toml:52: api.global_key",
        "/etc/tunnelwarden/tunnelwarden.toml:56: http.listen",
        "/etc/tunnelwarden/tunnelwarden.toml:86: tunnel.unit is not covered",
    ];
    assert_eq!(warnings.len(), begins.len(), "{warnings:#?}");
    for (warning, begin) in warnings.iter().zip(begins) {
        assert!(warning.starts_with(begin), "{warning}");
    }
}

#[test]
fn later_files_win_and_the_environment_wins_over_all() {
    let host = Host::with(&[
        (
            MAIN,
            "[probe]\nperiod = \"1m\"\ntimeout = \"4s\"\n[ready]\nperiod = \"7s\"\n[edge]\nperiod = \"1h\"\n",
        ),
        ("usr/lib/tunnelwarden/conf.d/20-b.toml", "[probe]\nperiod = \"2m\"\n[edge]\nperiod = \"2h\"\n"),
        ("run/tunnelwarden/conf.d/10-a.toml", "[probe]\nperiod = \"3m\"\n[ready]\nperiod = \"8s\"\n"),
        ("etc/tunnelwarden/conf.d/30-c.toml", "[edge]\nperiod = \"3h\"\n"),
    ]);
    let loaded = host.load(&[("TUNNELWARDEN_EDGE__PERIOD", "4h"), ("TUNNELWARDEN_MODE", "observe")]).unwrap();
    let seconds = |duration: Duration| duration.as_secs();
    let settings = loaded.settings;
    assert_eq!(seconds(settings.probe.period), 120);
    assert_eq!(seconds(settings.probe.timeout), 4);
    assert_eq!(seconds(settings.ready.period), 8);
    assert_eq!(seconds(settings.edge.period), 4 * 3600);
    assert_eq!(settings.mode, Mode::Observe);
    let sources: Vec<_> =
        loaded.sources.iter().map(|path| path.file_name().unwrap().to_string_lossy()).collect();
    assert_eq!(sources, ["tunnelwarden.toml", "10-a.toml", "20-b.toml", "30-c.toml"]);
}

#[test]
fn a_later_folder_masks_a_file_and_a_link_to_dev_null_removes_it() {
    let bad = "this is not TOML";
    let host = Host::with(&[
        ("usr/lib/tunnelwarden/conf.d/10-a.toml", bad),
        ("usr/lib/tunnelwarden/conf.d/20-b.toml", bad),
        ("run/tunnelwarden/conf.d/20-b.toml", bad),
        ("etc/tunnelwarden/conf.d/20-b.toml", "mode = \"observe\""),
        ("etc/tunnelwarden/conf.d/.30-c.toml.swp", bad),
    ]);
    std::os::unix::fs::symlink("/dev/null", host.at("etc/tunnelwarden/conf.d/10-a.toml")).unwrap();
    let loaded = host.load(&[]).unwrap();
    assert_eq!(loaded.settings.mode, Mode::Observe);
    assert_eq!(loaded.sources, [host.at("etc/tunnelwarden/conf.d/20-b.toml")]);
}

#[test]
fn drop_ins_add_tunnels_and_refine_those_of_others() {
    let host = Host::with(&[
        (
            MAIN,
            "[[tunnel]]\nunit = \"cloudflared-z.service\"\nname = \"z\"\nhostnames = [\"z.example.com\"]\n",
        ),
        (
            "etc/tunnelwarden/conf.d/10-a.toml",
            "[[tunnel]]\nunit = \"cloudflared-A.b.service\"\nname = \"a\"\n",
        ),
        (
            "etc/tunnelwarden/conf.d/20-z.toml",
            "[[tunnel]]\nunit = \"cloudflared-z.service\"\nmetrics = \"127.0.0.1:1\"\nhostnames = [\"y.example.com\"]\n",
        ),
    ]);
    let tunnels = host.load(&[]).unwrap().settings.tunnels;
    let told: Vec<_> = tunnels
        .iter()
        .map(|tunnel| {
            (tunnel.unit.as_str(), tunnel.name.as_deref(), tunnel.metrics.is_some(), &tunnel.hostnames)
        })
        .map(|(unit, name, metrics, hosts)| {
            (unit, name, metrics, hosts.iter().map(|host| host.as_str()).collect())
        })
        .collect::<Vec<(_, _, _, Vec<_>)>>();
    assert_eq!(
        told,
        [
            ("cloudflared-z.service", Some("z"), true, vec!["y.example.com"]),
            ("cloudflared-A.b.service", Some("a"), false, vec![]),
        ]
    );
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let host = Host::with(&[
        (MAIN, "[probe]\nperiod = \"0s\"\nperiodd = \"1s\"\n"),
        ("etc/tunnelwarden/conf.d/10-a.toml", "[judge]\nrounds = 0\npatience = 3\n"),
    ]);
    let said = host.complaint(&[("TUNNELWARDEN_REMEDY__PER_HOUR", "0")]);
    let begins: Vec<&str> = said.lines().filter(|line| !line.starts_with("  ")).collect();
    assert_eq!(
        begins,
        [
            "/etc/tunnelwarden/tunnelwarden.toml:3: probe.periodd is unknown; did you mean `period`?",
            "/etc/tunnelwarden/conf.d/10-a.toml:3: judge.patience is a number without a unit; write patience = \"3s\"",
            "/etc/tunnelwarden/tunnelwarden.toml:2: probe.period must be at least \"500ms\"; usual is \"15s\"",
            "/etc/tunnelwarden/conf.d/10-a.toml:2: judge.rounds must be at least 1: trouble has to be seen before it is judged; write 2",
            "environment TUNNELWARDEN_REMEDY__PER_HOUR: remedy.per_hour must be at least 1; to never restart set mode = \"observe\"",
        ]
    );
}

#[test]
fn a_bad_variable_says_what_to_write() {
    let said = |name: &str, value: &str| Host::with(&[]).complaint(&[(name, value)]);
    for (name, value, expected) in [
        (
            "TUNNELWARDEN_PROBE_PERIOD",
            "30s",
            "environment TUNNELWARDEN_PROBE_PERIOD: this name is unknown; write TUNNELWARDEN_PROBE__PERIOD: section, two underscores, key, in capitals",
        ),
        (
            "TUNNELWARDEN_PROBE__PERIODD",
            "30s",
            "environment TUNNELWARDEN_PROBE__PERIODD: this name is unknown; did you mean TUNNELWARDEN_PROBE__PERIOD?",
        ),
        (
            "TUNNELWARDEN_TUNNEL__UNIT",
            "x",
            "environment TUNNELWARDEN_TUNNEL__UNIT: this name cannot describe a tunnel; write [[tunnel]] in a file",
        ),
        (
            "TUNNELWARDEN_COLOUR",
            "x",
            "environment TUNNELWARDEN_COLOUR: this name is unknown; a name is TUNNELWARDEN_, section, two underscores, key: TUNNELWARDEN_PROBE__PERIOD",
        ),
        (
            "TUNNELWARDEN_PROBE__PERIOD",
            "30",
            "environment TUNNELWARDEN_PROBE__PERIOD: probe.period has no unit; write \"30s\" for seconds (units: ms, s, m, h)\n  TUNNELWARDEN_PROBE__PERIOD=\"30\"",
        ),
        (
            "TUNNELWARDEN_REMEDY__SWIFT",
            "yes",
            "environment TUNNELWARDEN_REMEDY__SWIFT: remedy.swift must be true or false\n  TUNNELWARDEN_REMEDY__SWIFT=\"yes\"",
        ),
        (
            "TUNNELWARDEN_JUDGE__ROUNDS",
            "5.7",
            "environment TUNNELWARDEN_JUDGE__ROUNDS: judge.rounds must be a whole number such as 2\n  TUNNELWARDEN_JUDGE__ROUNDS=\"5.7\"",
        ),
        (
            "TUNNELWARDEN_API__TOKEN",
            "cfut_hunter2",
            "environment TUNNELWARDEN_API__TOKEN: api.token is a secret itself and does not belong into a configuration; write the name of a systemd credential, or \"file:/path\" of a file that holds it. Replace this secret: it lay open\n  TUNNELWARDEN_API__TOKEN=(hidden)",
        ),
    ] {
        assert_eq!(said(name, value), expected);
    }
    let loaded = Host::with(&[]).load(&[
        ("TUNNELWARDEN_REMEDY__COOLDOWN", "1m, 2m"),
        ("TUNNELWARDEN_WINDOW__ALLOW", ""),
        ("TUNNELWARDEN_WINDOW__FORBID", "Sat,Sun 02:00..04:00; Mon..Fri 08:00..18:00;"),
        ("TUNNELWARDEN_REMEDY__SWIFT", "false"),
        ("TUNNELWARDEN_JUDGE__ROUNDS", "4"),
    ]);
    let settings = loaded.unwrap().settings;
    assert_eq!(settings.remedy.cooldown, [Duration::from_secs(60), Duration::from_secs(120)]);
    assert!(!settings.remedy.swift && settings.judge.rounds == 4 && settings.window.allow.is_empty());
    // Commas belong to the calendar.
    let forbid: Vec<_> = settings.window.forbid.iter().map(|span| span.as_str()).collect();
    assert_eq!(forbid, ["Sat,Sun 02:00..04:00", "Mon..Fri 08:00..18:00"]);
    let two = said("TUNNELWARDEN_WINDOW__FORBID", "Mon 08:00..18:00, Sat");
    assert!(two.contains("window.forbid has \"Mon 08:00..18:00, Sat\", which has"), "{two}");
    assert!(two.contains("08:00..18:00\", with a semicolon before the next span"), "{two}");
}

#[test]
fn what_is_no_file_is_refused_without_waiting() {
    let host = Host::with(&[]);
    fs::create_dir(host.at("etc/tunnelwarden/conf.d/10-folder.toml")).unwrap();
    std::os::unix::fs::symlink("/nowhere", host.at("etc/tunnelwarden/conf.d/20-link.toml")).unwrap();
    fs::write(host.at("etc/tunnelwarden/conf.d/30-long.toml"), "#".repeat(2 << 20)).unwrap();
    fs::write(host.at("etc/tunnelwarden/conf.d/40-bytes.toml"), b"# \n#\xff").unwrap();
    std::os::unix::fs::symlink("/dev/zero", host.at("etc/tunnelwarden/conf.d/50-device.toml")).unwrap();
    assert_eq!(
        host.complaint(&[]),
        "/etc/tunnelwarden/conf.d/10-folder.toml: is not a regular file\n\
         /etc/tunnelwarden/conf.d/20-link.toml: cannot be read: No such file or directory (os error 2)\n\
         /etc/tunnelwarden/conf.d/30-long.toml: is longer than 1 MiB, which no configuration is\n\
         /etc/tunnelwarden/conf.d/40-bytes.toml: cannot be read: line 2 is not UTF-8 text\n\
         /etc/tunnelwarden/conf.d/50-device.toml: is not a regular file"
    );
}

#[test]
fn a_text_made_to_be_deep_or_long_is_refused_in_bounded_time() {
    let hosts = format!("[[tunnel]]\nhostnames = [{}]\n", "\"-\",\n".repeat(100_000));
    let keys: String = (0..50_000).map(|number| format!("x{number} = 1\n")).collect();
    for text in [
        "[".repeat(500_000),
        format!("a = {}", "[".repeat(500_000)),
        format!("a = {}1{}", "[".repeat(100_000), "]".repeat(100_000)),
        format!("a{} = 1", ".a".repeat(250_000)),
        format!("[a{}]", ".a".repeat(250_000)),
        format!("probe.period{} = 1", ".a".repeat(250_000)),
        format!("a = {}", "{a=".repeat(250_000)),
        hosts,
        keys,
    ] {
        let said = Host::with(&[(MAIN, &text)]).complaint(&[]);
        assert!(said.lines().count() < 400, "{}", said.lines().count());
    }
}

/// Comments that explain begin with `# `, those that are settings with `#` alone.
fn uncommented(text: &str) -> String {
    let bare = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with(' ') => rest.to_owned(),
        Some(_) | None => line.to_owned(),
    };
    text.lines().map(|line| bare(line) + "\n").collect()
}

#[test]
fn the_packaged_file_changes_nothing_and_holds_when_uncommented() {
    let packaged = include_str!("../packaging/tunnelwarden.toml");
    let without = Host::with(&[]).load(&[]).unwrap().settings;
    assert_eq!(Host::with(&[(MAIN, packaged)]).load(&[]).unwrap().settings, without);
    let mut written = Host::with(&[(MAIN, &uncommented(packaged))]).load(&[]).unwrap().settings;
    assert_eq!(written.tunnels.len(), 1);
    assert!(!written.tunnels[0].probes.is_empty() && !written.tunnels[0].expected.is_empty());
    written.tunnels.clear();
    assert_eq!(written, without, "the packaged file names the defaults");
}

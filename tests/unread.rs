//! Files that whoever runs a command may not read: each is named, with what to do, and the exit status is 2.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

/// Who has no rights at all; as root the commands are run as this user, for whom a mode means something.
const NOBODY: u32 = 65534;

/// A folder that everyone may look into, with the program in it: the place of a build is often root's alone.
struct Stage {
    folder: tempfile::TempDir,
    root: bool,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let program = folder.path().join("tunnelwarden");
        // By a process of its own: were this one the writer, what another test forks in that moment would hold the
        // file open for writing until its exec, and running the program would fail with "text file busy".
        let mut install = Command::new("install");
        install.arg("-m755").arg(env!("CARGO_BIN_EXE_tunnelwarden")).arg(&program);
        assert!(install.status().unwrap().success());
        // The folder is the runner's.
        let root = std::os::unix::fs::MetadataExt::uid(&fs::metadata(folder.path()).unwrap()) == 0;
        Self { folder, root }
    }

    fn write(&self, name: &str, mode: u32, text: &str) {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// What a command says on both streams, and its exit status.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        let mut command = Command::new(self.folder.path().join("tunnelwarden"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env_clear().env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/bus");
        if self.root {
            command.uid(NOBODY).gid(NOBODY);
        }
        let output = command.output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), said.split_whitespace().collect::<Vec<_>>().join(" "))
    }
}

#[test]
fn a_file_that_may_not_be_read_is_named_with_what_to_do() {
    let stage = Stage::new();
    let rules = "ingress:\n- service: http_status:404\n";
    stage.write("config.yml", 0, rules);
    stage.write("good.yml", 0o644, rules);
    stage.write("list.toml", 0, "[[expect]]\nhostname = \"a.b\"\nservice = \"http://a\"\n");
    stage.write("flow.yml", 0, "on: push\njobs: {}\n");
    stage.write("cloudflared.service", 0, "[Service]\n");
    let denied = fs::File::open(stage.folder.path().join("config.yml"));
    assert!(stage.root || denied.is_err(), "the file can be read all the same, so nothing is tested");
    for (file, arguments) in [
        ("config.yml", &["audit", "ingress", "config.yml", "--offline"][..]),
        ("list.toml", &["audit", "ingress", "good.yml", "--offline", "--expect", "list.toml"]),
        ("config.yml", &["route", "https://a.b/", "--config", "config.yml"]),
        ("flow.yml", &["audit", "workflow", "flow.yml"]),
        ("cloudflared.service", &["audit", "unit", "./cloudflared.service"]),
        ("cloudflared.service", &["audit", "credentials", "./cloudflared.service"]),
    ] {
        let (code, said) = stage.run(arguments);
        assert_eq!(code, 2, "{arguments:?}: {said}");
        for words in [file, "permission denied; run it as root, or as a user that may read the file"] {
            assert!(said.contains(words), "{arguments:?}: {said}");
        }
    }
}

/// What lies around a unit: the unit itself is readable, as units are.
#[test]
fn what_a_unit_names_may_be_for_root_alone() {
    let stage = Stage::new();
    let here = stage.folder.path().canonicalize().unwrap().display().to_string();
    let unit = |line: &str| {
        format!("[Service]\nType=notify\nExecStart=/usr/bin/cloudflared {line}\n").replace("DIR", &here)
    };
    let config = format!("tunnel: 62da6c19-947b-4bf6-acad-100a73de4e0d\ncredentials-file: {here}/c.json\n");
    let versions = ["--cloudflared-version", "2026.8.2", "--systemd-version", "252"];
    let audit = |verb: &str| stage.run(&[&["audit", verb, "./cloudflared.service"], &versions[..]].concat());
    stage.write("cloudflared.service", 0o644, &unit("--config DIR/config.yml tunnel run"));
    stage.write("config.yml", 0, &config);
    stage.write("c.json", 0o400, "{}");
    let (_, said) = audit("credentials");
    let unseen = format!("cannot read {here}/config.yml: permission denied; run it as root");
    assert!(said.contains(&unseen), "{said}");
    stage.write("config.yml", 0o644, &config);
    // Not the runner's own, where the runner is not root.
    stage.write("c.json", 0, "{}");
    let (code, said) = audit("credentials");
    let content = format!(
        "{here}/c.json cannot be read: Permission denied (os error 13). Run this as root to see what is in it."
    );
    assert!(said.contains(&content), "{code}: {said}");
    assert!(!said.contains("credentials-not-json") && !said.contains("credentials-keys"), "{said}");
    let shut = stage.folder.path().join("shut");
    fs::create_dir(&shut).unwrap();
    stage.write("shut/token", 0o600, "x");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o000)).unwrap();
    stage.write("cloudflared.service", 0o644, &unit("tunnel run --token-file DIR/shut/token"));
    let (_, said) = audit("credentials");
    assert!(said.contains(&format!("{here}/shut/token cannot be looked at: Permission denied")), "{said}");
    assert!(said.contains("Run this as root."), "{said}");
    fs::set_permissions(&shut, fs::Permissions::from_mode(0o755)).unwrap();
}

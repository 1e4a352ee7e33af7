use std::path::Path;

use super::*;
use crate::client::cloudflare_api::{TokenOwner, TokenStatus};
use crate::client::unit_file;

const MINE: &str = "62da6c19-947b-4bf6-acad-100a73de4e0d";
const OTHER: &str = "00000000-947b-4bf6-acad-100a73de4e0d";

fn service(lines: &str) -> Service {
    let text = format!("[Service]\nExecStart=/usr/bin/cloudflared --no-autoupdate tunnel run\n{lines}");
    Service {
        name: "cloudflared.service".into(),
        settings: unit_file::parse(Path::new("/etc/systemd/system/cloudflared.service"), &text).unwrap(),
        state: None,
        cloudflared: None,
        systemd: None,
        protocol: None,
        retries: None,
        grace_period: None,
        no_autoupdate: false,
        newer_program: false,
        update_timer: None,
    }
}

fn access(mode: u32, uid: u32) -> Access {
    Access { uid, gid: uid, mode, is_file: true, open_folder: None, work_tree: None }
}

fn token_file(access: Access, tunnel: &str) -> FileSight {
    FileSight {
        role: Role::Token,
        path: "/etc/cloudflared/token".into(),
        access: Some(access),
        content: Content::Token(TokenSight { tunnel: Some(tunnel.into()), endpoint: None }),
        handed: false,
    }
}

fn host<'a>(service: &'a Service, files: Vec<FileSight>) -> Host<'a> {
    Host {
        service,
        files,
        config: None,
        runner: Some(Runner { uid: 0, groups: vec![0] }),
        records: Vec::new(),
        api: ApiSight::None,
        now: "2026-11-28T00:00:00Z".parse().unwrap(),
    }
}

fn rules(host: &Host<'_>) -> Vec<&'static str> {
    check(host).findings.iter().map(|finding| finding.rule).collect()
}

#[test]
fn a_file_is_judged_by_who_can_read_and_change_it() {
    let unit = service("");
    for (access, uid, expected) in [
        (access(0o600, 0), Some(0), vec!["token-in-clear"]),
        (access(0o400, 0), Some(0), vec!["token-in-clear"]),
        (access(0o640, 0), Some(0), vec!["token-in-clear"]),
        (access(0o644, 0), Some(0), vec!["file-readable"]),
        (access(0o640, 1000), Some(0), vec!["file-readable", "file-owner"]),
        (access(0o620, 0), Some(0), vec!["file-writable"]),
        (access(0o600, 1000), Some(0), vec!["file-owner"]),
        (access(0o600, 0), Some(998), vec!["file-unreadable"]),
        (access(0o400, 998), Some(998), vec!["token-in-clear"]),
        (access(0o600, 998), None, vec!["token-in-clear"]),
    ] {
        let mut host = host(&unit, vec![token_file(access.clone(), MINE)]);
        host.runner = uid.map(|uid| Runner { uid, groups: vec![uid] });
        assert_eq!(rules(&host), expected, "{access:?} for {uid:?}");
    }
    let mut open = access(0o600, 0);
    open.open_folder = Some("/etc/cloudflared".into());
    open.work_tree = Some("/etc".into());
    assert_eq!(rules(&host(&unit, vec![token_file(open, MINE)])), ["folder-writable", "file-in-git"]);
    let gone = FileSight { access: None, ..token_file(access(0, 0), MINE) };
    assert_eq!(rules(&host(&unit, vec![gone])), ["file-missing"]);
}

/// Numbers of users and groups are two things, and no advice takes the file from cloudflared.
#[test]
fn the_group_that_the_unit_runs_with_may_read_its_file() {
    let unit = service("User=games\n");
    let file = |mode, uid, gid| Access { gid, ..access(mode, uid) };
    let games = Some(Runner { uid: 5, groups: vec![60, 61] });
    let [chown, narrow, wide] = ["sudo chown root:60 ", "sudo chmod 0600 ", "sudo chmod 0640 "];
    for (access, runner, expected) in [
        (file(0o640, 0, 60), games.clone(), vec![("token-in-clear", vec![])]),
        (file(0o640, 0, 61), games.clone(), vec![("token-in-clear", vec![])]),
        // The user's number is not its group's.
        (file(0o640, 0, 5), games.clone(), vec![("file-readable", vec![chown, wide])]),
        (file(0o644, 0, 0), games.clone(), vec![("file-readable", vec![chown, wide])]),
        (file(0o660, 0, 60), games.clone(), vec![("file-writable", vec![chown, wide])]),
        (file(0o644, 5, 60), games.clone(), vec![("file-readable", vec![narrow])]),
        (file(0o640, 1000, 60), games, vec![("file-owner", vec![chown, wide])]),
        (file(0o644, 0, 0), Some(Runner { uid: 0, groups: vec![0] }), vec![("file-readable", vec![narrow])]),
        // Nobody knows who will read it: it is handed over first.
        (file(0o644, 0, 0), None, vec![("file-readable", vec!["by the drop-in below", narrow])]),
    ] {
        let mut host = host(&unit, vec![token_file(access.clone(), MINE)]);
        host.runner = runner.clone();
        let Checked { findings, drop_in } = check(&host);
        let found: Vec<_> = findings.iter().map(|finding| finding.rule).collect();
        let rules: Vec<_> = expected.iter().map(|(rule, _)| *rule).collect();
        assert_eq!(found, rules, "{access:?} for {runner:?}");
        for (finding, (_, words)) in findings.iter().zip(expected) {
            for word in [chown, narrow, wide] {
                assert_eq!(finding.fix.contains(word), words.contains(&word), "{word}: {}", finding.fix);
            }
            assert!(words.iter().all(|word| finding.fix.contains(word)), "{}", finding.fix);
        }
        assert_eq!(drop_in.is_empty(), runner.is_some() && rules != ["token-in-clear"], "{access:?}");
    }
}

#[test]
fn what_is_handed_over_need_not_be_the_users() {
    let unit = service("LoadCredential=tunnel-token:/etc/cloudflared/token\nUser=cloudflared\n");
    let handed = FileSight { handed: true, ..token_file(access(0o600, 0), MINE) };
    let mut host = host(&unit, vec![handed]);
    host.runner = Some(Runner { uid: 998, groups: vec![998] });
    assert_eq!(rules(&host), Vec::<&str>::new());
}

#[test]
fn everything_has_to_name_the_same_tunnel() {
    let unit = service("");
    let config = FileConfig { tunnel: Some(OTHER.into()), ..FileConfig::default() };
    let record = |kind: &str, content: &str| {
        let (id, name) = ("r".to_owned(), "app.example.com".to_owned());
        let record = Record {
            id,
            name: name.clone(),
            kind: kind.into(),
            content: Some(content.into()),
            proxied: Some(true),
        };
        (name, vec![record])
    };
    let mut host = host(&unit, vec![token_file(access(0o600, 0), MINE)]);
    host.config = Some(("/etc/cloudflared/config.yml".into(), config));
    let into = |tunnel: &str| record("CNAME", &format!("{tunnel}.cfargotunnel.com"));
    host.records = vec![into(MINE), into(OTHER), record("A", "192.0.2.1")];
    let mut found = rules(&host);
    found.sort_unstable();
    assert_eq!(
        found,
        ["record-not-of-a-tunnel", "record-of-another-tunnel", "token-in-clear", "tunnel-mismatch"]
    );
    host.config = None;
    host.records.truncate(1);
    assert_eq!(rules(&host), ["token-in-clear"]);
}

#[test]
fn an_api_token_is_told_before_it_ends() {
    let unit = service("");
    let token = |status, end: Option<&str>| {
        let expires_on = end.map(|end| end.parse().unwrap());
        ApiSight::Token(Some(VerifiedToken { owner: TokenOwner::User, status, not_before: None, expires_on }))
    };
    let active = || Some(TokenStatus::Active);
    for (api, expected) in [
        (ApiSight::None, None),
        (ApiSight::Token(None), None),
        (ApiSight::GlobalKey, Some("global-key")),
        (token(active(), Some("2027-11-28T00:00:00Z")), None),
        (token(active(), Some("2026-12-01T00:00:00Z")), Some("api-token-ends")),
        (token(active(), Some("2026-11-01T00:00:00Z")), Some("api-token-dead")),
        (token(Some(TokenStatus::Disabled), None), Some("api-token-dead")),
        (token(active(), None), Some("api-token-endless")),
    ] {
        let mut host = host(&unit, Vec::new());
        host.api = api.clone();
        assert_eq!(rules(&host), expected.into_iter().collect::<Vec<_>>(), "{api:?}");
    }
}

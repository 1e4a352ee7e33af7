use proptest::prelude::*;

use super::*;

fn full() -> State {
    let boot_id = "0c1f1a52-7d2c-4a62-8a3f-8f3d7c0d9f11".to_owned();
    let step =
        super::super::Step { wall: 7, what: "opened".to_owned(), detail: "a \"quoted\"\nword".to_owned() };
    let tunnel = Tunnel {
        cooldown_step: 2,
        not_cured: 1,
        latch: Some(Latch { credentials_mtime_wall: Some(5), wall: 6, tried: false }),
        in_flight: Some(InFlight {
            remedy: "SwiftRestart".to_owned(),
            invocation_before: Some("aa".to_owned()),
            boot: 1,
            wall: 2,
            boot_id: boot_id.clone(),
        }),
        incident: Some(OpenIncident {
            id: "i1".to_owned(),
            cause: "ConnectorPhantom".to_owned(),
            opened_boot: 1,
            opened_wall: 2,
            boot_id: boot_id.clone(),
            steps: vec![step],
        }),
        charges: vec![Charge { remedy: "Restart".to_owned(), boot: 1, wall: 2, boot_id: boot_id.clone() }],
        through: [("aa".to_owned(), Life { watched_whole_life: true, was_through: false })].into(),
    };
    let tunnels =
        [("cloudflared@a b.service".to_owned(), tunnel), ("b.service".to_owned(), Tunnel::default())];
    State {
        boot_id,
        boot: 12,
        wall: 34,
        paused_until_wall: Some(9),
        paused_reason: Some("work".to_owned()),
        memory_lost: Some("cut short".to_owned()),
        tunnel: tunnels.into(),
    }
}

fn lost(text: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.toml");
    fs::write(&path, text).unwrap();
    let Memory::Lost { reason, kept_aside } = State::read(&path) else { panic!("believed") };
    assert_eq!(fs::read(kept_aside.unwrap()).unwrap(), text);
    reason.strip_prefix(&format!("{}: ", path.display())).unwrap().to_owned()
}

#[test]
fn what_is_written_is_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.toml");
    assert_eq!(State::read(&path), Memory::Fresh);
    for state in [State::default(), full()] {
        state.write(&path).unwrap();
        assert_eq!(State::read(&path), Memory::Kept(Box::new(state)));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_broken_file_is_lost_and_not_fresh() {
    assert_eq!(lost(b""), "line 1: is empty");
    assert_eq!(
        lost(b"version = 2\nboot_id = \"x\"\n# end\n"),
        "line 1: is of version 2; this tunnelwarden reads version 1"
    );
    assert_eq!(lost(b"boot_id = \"x\"\n# end\n"), "line 1: names no version");
    assert_eq!(lost(b"version = 1\n\xff"), "line 2: is not UTF-8 text");
    let strange = "version = 1\nboot_id = \"x\"\nboot = 1\nwall = 1\nwhat = 1\n# end\n";
    assert!(lost(strange.as_bytes()).starts_with("line 5: unknown field `what`"));
}

#[test]
fn a_file_cut_anywhere_is_never_believed() {
    let bytes = full().encoded(Path::new("x")).unwrap();
    assert!(parse(&bytes).is_ok());
    for length in 0..bytes.len() - 1 {
        assert!(parse(&bytes[..length]).is_err(), "cut at {length}");
    }
}

#[test]
fn a_loss_is_not_forgotten_by_reading_again_and_one_copy_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.toml");
    for text in ["one", "one", "two"] {
        fs::write(&path, text).unwrap();
        assert!(matches!(State::read(&path), Memory::Lost { .. }));
        assert!(matches!(State::read(&path), Memory::Lost { .. }));
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    assert_eq!(fs::read(folder.path().join("state.toml.broken-1")).unwrap(), b"two");
    full().write(&path).unwrap();
    assert_eq!(State::read(&path), Memory::Kept(Box::new(full())));
}

#[test]
fn a_full_disk_sends_it_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let (path, run) = (folder.path().join("state.toml"), folder.path().join("run"));
    fs::create_dir(&run).unwrap();
    State::default().write(&path).unwrap();
    // Whatever is written to it, the device says that it is full.
    std::os::unix::fs::symlink("/dev/full", folder.path().join("state.toml.new")).unwrap();
    let stored = full().write_or_fallback(&path, &run).unwrap();
    let Stored::Fallback { at, why } = stored else { panic!("{stored:?}") };
    assert!(matches!(why, StoreError::Full { .. }), "{why}");
    assert_eq!(State::read(&at), Memory::Kept(Box::new(full())));
    assert_eq!(State::read(&path), Memory::Kept(Box::default()), "the old one is whole");
    assert_eq!(State::read_with_fallback(&path, &run), Memory::Kept(Box::new(full())));
}

#[test]
fn a_cursor_is_kept_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cursor");
    assert_eq!(read_cursor(&path), None);
    write_cursor(&path, "s=1;i=2;b=3").unwrap();
    assert_eq!(read_cursor(&path).as_deref(), Some("s=1;i=2;b=3"));
    // It is not made durable, so this may be left of it when the power goes.
    for left in ["", "s=1;i=", "\0\0\0\0", "s=1;i=2\0\0\0\0\n", "\n"] {
        fs::write(&path, left).unwrap();
        assert_eq!(read_cursor(&path), None, "{left:?} was left of it");
    }
    write_cursor(&path, "s=1;i=2;b=4").unwrap();
    assert_eq!(read_cursor(&path).as_deref(), Some("s=1;i=2;b=4"));
}

#[test]
fn a_missing_folder_is_no_reason_to_go_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let error = full().write_or_fallback(&folder.path().join("no/state.toml"), folder.path()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error}");
}

#[test]
fn what_had_to_go_elsewhere_is_read_first_and_then_removed() {
    let folder = tempfile::tempdir().unwrap();
    let (path, run) = (folder.path().join("state.toml"), folder.path().join("run"));
    fs::create_dir(&run).unwrap();
    State { boot: 11, ..full() }.write(&path).unwrap();
    full().write(&run.join("state.toml")).unwrap();
    assert_eq!(State::read_with_fallback(&path, &run), Memory::Kept(Box::new(full())));
    // A crash between the write and the removal leaves the older one there.
    let newer = State { boot: 13, ..full() };
    newer.write(&path).unwrap();
    assert_eq!(State::read_with_fallback(&path, &run), Memory::Kept(Box::new(newer)));
    assert!(matches!(full().write_or_fallback(&path, &run).unwrap(), Stored::Primary));
    assert!(!run.join("state.toml").exists());
    assert_eq!(State::read_with_fallback(&path, &run), Memory::Kept(Box::new(full())));
}

#[test]
fn a_text_made_to_be_deep_is_refused() {
    for text in [
        "[".repeat(500_000),
        format!("a{} = 1", ".a".repeat(500_000)),
        format!("a = {}", "{a=".repeat(250_000)),
    ] {
        assert!(parse(text.as_bytes()).is_err());
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _lost = parse(&bytes);
    }

    #[test]
    fn no_change_of_one_byte_makes_it_panic(at in 0usize..1200, byte: u8) {
        let mut bytes = full().encoded(Path::new("x")).unwrap();
        if let Some(changed) = bytes.get_mut(at) {
            *changed = byte;
        }
        let _either = parse(&bytes);
    }
}

//! `audit workflow` as a person meets it: workflows beside what is said of them.
#![expect(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use proptest::prelude::*;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/audit/workflow").join(name)
}

/// Runs the command in `folder`, so that it says no path of this machine.
fn audit(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tunnelwarden"));
    command.current_dir(folder).args(["audit", "workflow"]).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn workflows(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".yml")).collect();
    names.sort();
    names
}

/// Compares with the file beside it. `UPDATE_EXPECTED=1` writes it anew.
fn expect(path: &Path, said: &str) {
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(path, said).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(said, expected, "{}", path.display());
}

#[test]
fn each_bad_workflow_lies_beside_its_findings() {
    let folder = folder("bad");
    for name in workflows(&folder) {
        let output = audit(&folder, &[&name]);
        let said = text(&output.stdout);
        expect(&folder.join(&name).with_extension("txt"), &said);
        // One has nothing but a note.
        assert_eq!(output.status.code(), Some(i32::from(name != "elsewhere.yml")), "{name}");
        for line in said.lines().filter(|line| !line.starts_with("      ")) {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
    }
}

#[test]
fn a_careful_workflow_has_no_finding_of_any_kind() {
    let folder = folder("good");
    for name in workflows(&folder) {
        let output = audit(&folder, &["--json", &name]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["findings"], serde_json::json!([]), "{name}: {report:#}");
        assert_eq!(output.status.code(), Some(0));
    }
}

#[test]
fn the_shipped_workflows_pass_their_own_audit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/github");
    let names = workflows(&folder);
    assert_eq!(names, ["provision-host.yml", "provision-tunnel.yml"]);
    for name in names {
        let output = audit(&folder, &["--json", &name]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["findings"], serde_json::json!([]), "{name}: {report:#}");
        assert_eq!(output.status.code(), Some(0), "{name}");
        // The rules did look.
        assert_eq!(report["jobs"][0]["about_tunnel"], true);
        assert_eq!(report["jobs"][0]["has_secret"], true);
    }
}

/// Every single rule that the shipped workflow keeps is found once it is broken.
#[test]
fn a_shipped_workflow_that_is_spoiled_is_found_out() {
    let shipped = fs::read_to_string(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/github/provision-tunnel.yml"),
    )
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (from, to, rule) in [
        ("      contents: read\n", "", "permissions-missing"),
        ("      id-token: write", "      packages: write", "permissions-missing"),
        ("contents: read", "contents: write", "permissions-excess"),
        ("azure/login@a457da9ea143d694b1b9c7c869ebb04ebe844ef5", "azure/login@v2", "unpinned-action"),
        ("azure/login@a457", "example/login@a457", "oidc-unused"),
        ("    environment: ${{ inputs.environment }}\n", "", "no-environment"),
        (
            "concurrency:\n  group: provision-tunnel-${{ inputs.environment }}\n  cancel-in-progress: false\n",
            "",
            "no-concurrency",
        ),
        (
            "printf %s \"$TUNNEL_TOKEN\" |",
            "printf %s \"${{ secrets.CLOUDFLARE_TUNNEL_TOKEN }}\" |",
            "secret-in-script",
        ),
        ("--from-file=token=/dev/stdin", "--from-literal=token=\"$TUNNEL_TOKEN\"", "from-literal"),
        ("set -euo pipefail", "set -euxo pipefail", "secret-printed"),
        ("exit 1", "echo \"$TUNNEL_TOKEN\"", "secret-printed"),
        ("exit 1", "echo \"$TUNNEL_TOKEN\" > token", "secret-stored"),
        (" --server-side", "", "last-applied"),
        (
            "--dry-run=client --output=yaml |\n            kubectl apply",
            "&& kubectl apply",
            "create-not-apply",
        ),
        ("          kubectl rollout restart", "          # kubectl rollout restart", "no-rollout"),
        ("          kubectl rollout status", "          # kubectl rollout status", "rollout-unwatched"),
        ("exit 1", "cloudflared --origincert cert.pem", "cert-pem"),
        ("exit 1", "curl -H \"X-Auth-Key: $TUNNEL_TOKEN\" https://api", "global-key"),
        (
            "exit 1",
            "kubectl set image deployment/cloudflared c=cloudflare/cloudflared:latest",
            "latest-image",
        ),
    ] {
        assert!(shipped.contains(from), "{from}");
        fs::write(folder.path().join("spoiled.yml"), shipped.replacen(from, to, 1)).unwrap();
        let output = audit(folder.path(), &["--json", "spoiled.yml"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let rules: Vec<_> = report["findings"]
            .as_array()
            .unwrap()
            .iter()
            .map(|finding| finding["rule"].as_str().unwrap())
            .collect();
        assert!(rules.contains(&rule), "{to:?} gave {rules:?}, not {rule}");
    }
}

#[test]
fn machines_and_tickets_are_told_the_same() {
    let folder = folder("bad");
    let json = audit(&folder, &["--json", "sop.yml"]);
    expect(&folder.join("sop.json"), &text(&json.stdout));
    let markdown = audit(&folder, &["--markdown", "sop.yml"]);
    expect(&folder.join("sop.md"), &text(&markdown.stdout));
    assert_eq!((json.status.code(), markdown.status.code()), (Some(1), Some(1)));
}

#[test]
fn no_secret_in_a_workflow_is_repeated() {
    let folder = folder("bad");
    let file = fs::read_to_string(folder.join("token.yml")).unwrap();
    let token = file.lines().find_map(|line| line.split("TUNNEL_TOKEN: ").nth(1)).unwrap();
    for form in ["--json", "--markdown", "token.yml"] {
        let output = audit(&folder, &[form, "token.yml"]);
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(
            said.contains("62da6c19-947b-4bf6-acad-100a73de4e0d") && !said.contains(&token[..24]),
            "{said}"
        );
    }
    // Nor by an error.
    let broken = tempfile::tempdir().unwrap();
    fs::write(broken.path().join("a.yml"), file.replace("steps:", "steps: [").replace("run:", "run"))
        .unwrap();
    let output = audit(broken.path(), &["a.yml"]);
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.code() == Some(2) && !said.contains(&token[..24]), "{said}");
}

#[test]
fn what_is_no_workflow_is_said_with_its_place_and_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let deep: String = (0..40).fold("a: &x0 [y]\n".into(), |text, at| {
        let alias = format!("*x{at}");
        text + &format!("b{at}: &x{} [{}]\n", at + 1, [alias.as_str(); 10].join(", "))
    });
    let binary = [b"on: push\n\x7fELF\x00".as_slice(), &[0; 64]].concat();
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", b" \n".to_vec()),
        ("comment", b"# nothing\n".to_vec()),
        ("list", b"- jobs\n".to_vec()),
        ("no-jobs", b"on: push\n".to_vec()),
        ("jobs-empty", b"on: push\njobs:\n".to_vec()),
        ("jobs-list", b"on: push\njobs:\n  - a\n".to_vec()),
        ("job-text", b"on: push\njobs:\n  a: b\n".to_vec()),
        ("no-steps", b"on: push\njobs:\n  a:\n    runs-on: x\n".to_vec()),
        ("steps-map", b"on: push\njobs:\n  a:\n    steps:\n      run: x\n".to_vec()),
        ("step-text", b"on: push\njobs:\n  a:\n    steps:\n      - run\n".to_vec()),
        ("run-list", b"on: push\njobs:\n  a:\n    steps:\n      - run: [a]\n".to_vec()),
        ("env-list", b"on: push\njobs:\n  a:\n    env: [A]\n    steps:\n      - run: a\n".to_vec()),
        (
            "permissions-list",
            b"on: push\npermissions: [a]\njobs:\n  a:\n    steps:\n      - run: a\n".to_vec(),
        ),
        (
            "permission-map",
            b"on: push\npermissions:\n  contents: {}\njobs:\n  a:\n    steps:\n      - run: a\n".to_vec(),
        ),
        ("syntax", b"on: push\njobs: {\n".to_vec()),
        ("tab", b"on: push\njobs:\n\ta: b\n".to_vec()),
        ("twice", b"on: push\njobs:\n  a: {steps: [{run: a}]}\n  a: {steps: [{run: b}]}\n".to_vec()),
        ("no-anchor", b"on: push\njobs: *nowhere\n".to_vec()),
        ("bomb", deep.into_bytes()),
        ("nested", "[".repeat(5000).into_bytes()),
        (
            "jobs",
            format!(
                "jobs:\n{}",
                (0..2000).map(|at| format!("  a{at}: {{steps: [{{run: a}}]}}\n")).collect::<String>()
            )
            .into_bytes(),
        ),
        ("binary", binary),
        ("latin", b"on: push\nname: caf\xe9\n".to_vec()),
        ("large", vec![b'#'; 10 << 20]),
    ];
    let mut said = String::new();
    for (name, bytes) in cases {
        fs::write(folder.path().join(name), bytes).unwrap();
        let output = audit(folder.path(), &[name]);
        assert_eq!(output.status.code(), Some(2), "{name}: {}", text(&output.stdout));
        let out = text(&output.stdout);
        let blind = out.split("Not seen\n").nth(1).unwrap().split("\n\n").next().unwrap();
        said.push_str(&format!("{blind}\n"));
    }
    for name in ["nowhere", "."] {
        let out = text(&audit(folder.path(), &[name]).stdout);
        said.push_str(&format!(
            "{}\n",
            out.split("Not seen\n").nth(1).unwrap().split("\n\n").next().unwrap()
        ));
    }
    expect(&self::folder("unread.txt"), &said);
}

#[test]
fn one_file_that_cannot_be_read_does_not_hide_the_others() {
    let output = audit(&folder("bad"), &["nowhere.yml", "sop.yml"]);
    let said = text(&output.stdout);
    assert!(said.contains("nowhere.yml cannot be read") && said.contains("from-literal"), "{said}");
    assert_eq!(output.status.code(), Some(1));
    let output = audit(&folder("good"), &["nowhere.yml", "careful.yml"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(audit(&folder("good"), &[]).status.code(), Some(64));
}

/// Pieces that make a script or an expression likely to get far.
fn piece() -> impl Strategy<Value = String> {
    let pieces = vec![
        "$TUNNEL_TOKEN",
        "\"$TUNNEL_TOKEN\"",
        "${TUNNEL_TOKEN:-x}",
        "$(",
        ")",
        "`",
        "${{ secrets.TUNNEL_TOKEN }}",
        "${{",
        "}}",
        "<<EOF",
        "<<-'E'",
        "<<<",
        "\nEOF\n",
        "\nE\n",
        ">",
        ">>",
        ">&2",
        "2>&1",
        "|",
        "||",
        "&&",
        "&",
        ";",
        "\n",
        "\\\n",
        "\\",
        "'",
        "\"",
        "{",
        "}",
        "(",
        "f() {",
        "case x in a)",
        "esac",
        "if",
        "fi",
        "for x in",
        "do",
        "done",
        "echo",
        "printf %s",
        "cat",
        "tee",
        "base64",
        "kubectl create secret generic x",
        "--from-literal=a=",
        "--dry-run=client",
        "kubectl apply -f -",
        "kind: Secret",
        "sudo -E",
        "env",
        "set -x",
        "cloudflared --token",
        "umask 077",
        "rm -f",
        "$GITHUB_ENV",
        "cert.pem",
        "X-Auth-Key",
        "cloudflare/cloudflared:latest",
        "é",
        "\t",
        "#",
        "=",
        "A=",
        "[",
        "]",
        "secrets[",
        "env.TUNNEL_TOKEN",
        "toJSON(secrets)",
    ];
    prop_oneof![proptest::sample::select(pieces).prop_map(str::to_owned), ".{0,6}"]
}

proptest! {
    #[test]
    fn no_script_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        let script = serde_json::Value::from(pieces.join(" "));
        let text = format!("name: tunnel\nenv: {{TUNNEL_TOKEN: \"${{{{ secrets.A }}}}\"}}\njobs: {{a: {{steps: [{{run: {script}}}]}}}}\n");
        if let Ok(workflow) = tunnelwarden::client::github_workflow::parse(Path::new("a.yml"), &text) {
            let checked = tunnelwarden::audit::workflow::check("a.yml", &workflow);
            prop_assert!(checked.jobs.len() == 1);
        }
    }

    #[test]
    fn no_text_makes_it_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        let text = format!("jobs:\n  tunnel:\n    steps:\n      - run: |\n          {}", pieces.join(" "));
        if let Ok(workflow) = tunnelwarden::client::github_workflow::parse(Path::new("a.yml"), &text) {
            tunnelwarden::audit::workflow::check("a.yml", &workflow);
        }
    }
}

//! What must never be believed, sent through the running daemon: no panic, no restart, nothing lost.
#![expect(clippy::disallowed_methods, reason = "the lab runs in real time")]

use std::thread::sleep;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::host::{Lab, Wishes, wait};
use crate::scenarios::{
    FINISHED, OPENED, ORDERED, Stage, UNIT, cause, invocation, no_remedy, one_cure, seconds, settle,
    wait_cause,
};

/// journald cuts a line here.
const LINE_MAX: usize = 48 * 1024;
const REFUSED: &str = "2026-08-20T10:00:00Z ERR Register tunnel error from server side error=\"Unauthorized: Invalid tunnel secret\" connIndex=0 event=0 ip=10.99.1.1";

/// What a cloudflared with a chatty log level, or a visitor, can make the journal hold.
fn lines() -> Vec<u8> {
    let mut all = Vec::new();
    let mut line = |bytes: &[u8]| {
        all.extend_from_slice(bytes);
        all.push(b'\n');
    };
    // Two goroutines wrote into each other.
    line(br#"{"connIndex":1,"event":0{"connIndex":3,"event":0,"ip":"10.99.1.1","level":"error","message":"Unauthorized: Invalid tunnel secret""#);
    line(br#","ip":"10.99.1.2","level":"error","message":"Register tunnel error from server side"}"#);
    line(br#"{"level":"error","message":{"error":"Unauthorized: Invalid tunnel secret"},"time":[]}"#);
    line(b"{\"level\":");
    line(&[0xff, 0xfe, 0x00, b'E', b'R', b'R', 0x1b, b'[', b'3', b'1', b'm', 0x80, 0x00, 0x07]);
    line(b"");
    line(&[b'[', b'[', b'['].repeat(2_000));
    // A continuation: words without time and level.
    line(b"Register tunnel error from server side error=\"Unauthorized: Invalid tunnel secret\"");
    line(b"Unauthorized: Invalid tunnel secret");
    line(b"\tfailed to parse the ingress rules: the last ingress rule must match all URLs");
    // A visitor chose the path and the browser.
    line(b"2026-08-20T10:00:00Z DBG GET http://127.0.0.1:8080/Unauthorized:%20Invalid%20tunnel%20secret HTTP/2.0 connIndex=1 event=1 headers={\"User-Agent\":[\"ERR Register tunnel error from server side error=\\\"Unauthorized: Invalid tunnel secret\\\"\"]}");
    line(br#"{"connIndex":1,"event":1,"headers":{"User-Agent":["Unauthorized: Invalid tunnel secret","\",\"level\":\"error\",\"message\":\"Register tunnel error from server side"]},"level":"debug","message":"GET http://127.0.0.1:8080/ HTTP/2.0","path":"/error code: 1033"}"#);
    line(b"2026-08-20T10:00:00Z DBG GET /\\n2026-08-20T10:00:00Z INF Initiating graceful shutdown due to signal terminated ...");
    // Cut by journald so that the next entry begins with words that a visitor chose.
    let head = b"2026-08-20T10:00:00Z DBG GET http://127.0.0.1:8080/?";
    let mut long = head.to_vec();
    long.resize(LINE_MAX, b'x');
    long.extend_from_slice(REFUSED.as_bytes());
    line(&long);
    line(&b"0123456789abcdef".repeat(64 * 1024));
    all
}

/// Lines of the unit, answers of `/ready`, pages of visitors, files of state.
pub(crate) fn bad_input(stage: &Stage<'_>) -> Result<()> {
    let env = vec![("STANDIN_READY_FROM", "/run/ready-answer".to_owned())];
    let lab = stage.boot(&Wishes { env, standin: true, ..Wishes::default() })?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    journal_lines(&lab)?;
    ready_answers(&lab)?;
    pages(&lab)?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted because of bad input");
    states(&lab)?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted because of a bad state file");
    no_remedy(&lab)
}

fn untouched(lab: &Lab, by: &str) -> Result<()> {
    no_remedy(lab)?;
    ensure!(cause(lab)? == "Healthy", "{by}: {}", lab.explain()?);
    ensure!(lab.events(OPENED)?.is_empty(), "{by} opened an incident");
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "{by} felled tunnelwarden");
    Ok(())
}

fn journal_lines(lab: &Lab) -> Result<()> {
    lab.write_bytes("/root/lines", &lines())?;
    lab.write(
        "/etc/systemd/system/cloudflared.service.d/lines.conf",
        "[Service]\nExecReload=/bin/cat /root/lines\n",
    )?;
    let heard =
        || lab.metric("tunnelwarden_journal_lines_total{meaning=\"unknown\",tunnel=\"cloudflared.service\"}");
    let before = heard()?;
    lab.sh("systemctl daemon-reload; systemctl reload cloudflared")?;
    sleep(seconds(25));
    ensure!(before + 5.0 <= heard()?, "the lines did not come through the journal");
    untouched(lab, "a bad journal line")?;
    let state = lab.sh("cat /var/lib/tunnelwarden/state.toml")?;
    ensure!(!state.contains("latch"), "words of a visitor count as a refusal: {state}");
    // The unit's next real lines are still heard.
    let cursor = lab.sh("cat /var/lib/tunnelwarden/cursor")?;
    ensure!(cursor.contains("i="), "the place in the journal is lost: {cursor:?}");
    Ok(())
}

fn ready_answers(lab: &Lab) -> Result<()> {
    let answer = |body: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let answers = [
        ("garbage", answer("\u{0}\u{1}{{{{")),
        ("another service", answer("<html>hello</html>")),
        ("a negative number", answer(r#"{"status":200,"readyConnections":-4,"connectorId":"x"}"#)),
        ("a huge number", answer(r#"{"status":200,"readyConnections":1e99,"connectorId":7}"#)),
        ("ten megabytes", answer(&"x".repeat(10_000_000))),
        ("no HTTP", "220 mail.example.com ESMTP\r\n".to_owned()),
    ];
    for (name, bytes) in answers {
        lab.write("/run/ready-answer", &bytes)?;
        wait(&format!("{name}: the ready sense is blind"), seconds(20), || {
            Ok(lab.metric("tunnelwarden_sense_blind{sense=\"ready\",tunnel=\"cloudflared.service\"}")? == 1.0)
        })?;
        sleep(seconds(8));
        untouched(lab, name)?;
        lab.sh("rm /run/ready-answer")?;
        wait("it sees again", seconds(20), || {
            Ok(lab.metric("tunnelwarden_sense_blind{sense=\"ready\",tunnel=\"cloudflared.service\"}")? == 0.0)
        })?;
    }
    // A connection that ends too soon is a port to be found again.
    lab.write("/run/ready-answer", "HTTP/1.1 200 OK\r\nContent-Le")?;
    sleep(seconds(20));
    untouched(lab, "a torn head")?;
    lab.sh("rm /run/ready-answer").map(drop)
}

fn pages(lab: &Lab) -> Result<()> {
    let answer = |status: &str, body: &str| {
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    // Served, whatever it says.
    let served = [
        ("200 that speaks of 1033", answer("200 OK", "error code: 1033")),
        ("half a megabyte", answer("200 OK", &"Error 1033 ".repeat(40_000))),
        ("404 that speaks of 1033", answer("404 Not Found", "<title>Error 1033</title>")),
    ];
    for (name, bytes) in served {
        lab.write("/run/origin-answer", &bytes)?;
        sleep(seconds(20));
        untouched(lab, name)?;
    }
    // The origin imitates the edge: something is wrong, and it is not cloudflared.
    lab.write("/run/origin-answer", &answer("530 Origin", "error code: 1033"))?;
    sleep(seconds(60));
    no_remedy(lab)?;
    let explained = lab.explain()?;
    ensure!(!explained.contains("phantom"), "{explained}");
    lab.sh("rm /run/origin-answer")?;
    wait_cause(lab, "Healthy", 60)?;
    Ok(())
}

fn states(lab: &Lab) -> Result<()> {
    let whole = lab.sh("cat /var/lib/tunnelwarden/state.toml")?;
    let half = whole.get(..whole.len() / 2).unwrap_or("").to_owned();
    let broken: [(&str, Vec<u8>); 5] = [
        ("garbage", b"\xff\xfe\x00\x01 = [[[".to_vec()),
        ("truncated", format!("{half}\nx = \"").into_bytes()),
        ("of a later version", whole.replacen("version = 1", "version = 99", 1).into_bytes()),
        ("nothing at all", Vec::new()),
        ("16 MB", b"# no end\n".repeat(2_000_000)),
    ];
    for (name, bytes) in broken {
        lab.sh("systemctl stop tunnelwarden")?;
        lab.write_bytes("/var/lib/tunnelwarden/state.toml", &bytes)?;
        lab.sh("systemctl start tunnelwarden")?;
        wait(&format!("a state that is {name} is seen as lost"), seconds(20), || {
            Ok(lab.metric("tunnelwarden_memory_lost").unwrap_or(0.0) == 1.0)
        })?;
        let said = lab.sh("journalctl -q -u tunnelwarden -o cat -n 50")?;
        ensure!(said.contains("Memory lost, so nothing is done"), "{name}: {said}");
        let kept = lab.sh("cat /var/lib/tunnelwarden/state.toml.broken-1 | head -c 64 | wc -c")?;
        ensure!(kept.trim() == bytes.len().min(64).to_string(), "{name}: the broken file was not kept");
        lab.sh("rm /var/lib/tunnelwarden/state.toml.broken-1; systemctl reload tunnelwarden")?;
        wait("the loss is accepted", seconds(20), || {
            Ok(lab.metric("tunnelwarden_memory_lost").unwrap_or(1.0) == 0.0)
        })?;
    }
    Ok(())
}

/// No room for the state: the charge goes elsewhere before the restart, and is remembered.
pub(crate) fn disk_full(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    lab.sh(
        "systemctl stop tunnelwarden; mount -t tmpfs -o size=64k tmpfs /var/lib/tunnelwarden; \
         chown tunnelwarden: /var/lib/tunnelwarden; chmod 750 /var/lib/tunnelwarden; systemctl start tunnelwarden",
    )?;
    settle(&lab)?;
    lab.try_sh("cat /dev/zero > /var/lib/tunnelwarden/filler")?;
    lab.edge("blackhole")?;
    one_cure(&lab, "SwiftRestart", "ConnectorPhantom")?;
    let said = lab.sh("journalctl -q -u tunnelwarden -o cat")?;
    ensure!(said.contains("/run/tunnelwarden"), "the journal does not say where the charge went: {said}");
    lab.sh("systemctl restart tunnelwarden")?;
    wait("it watches again", seconds(30), || Ok(lab.status().is_ok()))?;
    let left = lab.metric("tunnelwarden_budget_remaining{tunnel=\"cloudflared.service\",window=\"hour\"}")?;
    ensure!(left == 2.0, "the charge was forgotten: {left} left");
    ensure!(lab.show(UNIT, "ActiveState")? == "active");
    Ok(())
}

/// Somebody pauses remedies while the charge of one is on its way to the disk: it is not carried out any more.
pub(crate) fn disk_slow(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    // Whoever opens what another has a lease on waits until that one lets go. The charge waits for five seconds at most.
    lab.sh(r#"cat > /run/slow.sh <<'END'
journalctl -q -u tunnelwarden -f -n 0 -o cat | grep -m 1 ordered
tunnelwarden pause --for 1h --reason test
END
cat > /run/slow.pl <<'END'
my ($F_SETLEASE, $F_WRLCK) = (1024, 1);
$SIG{IO} = sub {};
open my $new, '+>', '/var/lib/tunnelwarden/state.toml.new' or die $!;
chown((stat '/var/lib/tunnelwarden')[4, 5], $new);
fcntl $new, $F_SETLEASE, $F_WRLCK or die "no lease: $!";
system 'sh', '/run/slow.sh';
END
systemd-run -q --unit=slow perl /run/slow.pl; sleep 1; systemctl is-active slow"#)?;
    lab.edge("blackhole")?;
    let finished = || lab.events(FINISHED);
    wait("the remedy is over", seconds(90), || Ok(!finished()?.is_empty()))?;
    let said = finished()?[0]["MESSAGE"].to_string();
    ensure!(said.contains("no longer so"), "carried out, or for another reason not: {said}");
    sleep(seconds(40));
    ensure!(invocation(&lab)? == before, "restarted although paused");
    let left = lab.metric("tunnelwarden_budget_remaining{tunnel=\"cloudflared.service\",window=\"hour\"}")?;
    ensure!(left == 2.0, "the charge was given back: {left} left");
    ensure!(lab.events(ORDERED)?.len() == 1, "another remedy was ordered");
    Ok(())
}

/// A disk that stalls: nothing is done that could be forgotten, and whoever watches and asks is not held up.
pub(crate) fn disk_stalls(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    settle(&lab)?;
    let before = invocation(&lab)?;
    // Whoever opens a pipe that nobody reads waits.
    let pipe = "/var/lib/tunnelwarden/state.toml.new";
    lab.sh(&format!("mkfifo {pipe}; chown tunnelwarden: {pipe}"))?;
    lab.edge("blackhole")?;
    wait("a remedy is ordered", seconds(60), || Ok(!lab.events(ORDERED)?.is_empty()))?;
    wait("it is not carried out", seconds(20), || {
        Ok(lab.events(FINISHED)?.iter().any(|event| {
            event["MESSAGE"].as_str().is_some_and(|text| text.contains("could not be written to disk"))
        }))
    })?;
    ensure!(invocation(&lab)? == before, "restarted without a charge that lasts");
    let asked = Instant::now();
    // Longer than the watchdog waits.
    while asked.elapsed() < seconds(40) {
        ensure!(lab.explain()?.contains("ConnectorPhantom"), "{}", lab.explain()?);
        sleep(seconds(2));
    }
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "tunnelwarden fell over");
    lab.sh(&format!("timeout 5 cat {pipe} > /dev/null; tunnelwarden pause --for 1h --reason test"))?;
    wait("it is written afterwards", seconds(20), || {
        let state = lab.sh("cat /var/lib/tunnelwarden/state.toml")?;
        Ok(state.contains("paused_until_wall") && state.contains("[[tunnel"))
    })?;
    // It ends at once, too, when it stalls again.
    lab.sh(&format!("mkfifo {pipe}; chown tunnelwarden: {pipe}"))?;
    let asked = Instant::now();
    lab.sh("systemctl stop tunnelwarden")?;
    ensure!(asked.elapsed() < seconds(20), "a stop waits for the disk");
    ensure!(lab.show("tunnelwarden", "Result")? == "success");
    Ok(())
}

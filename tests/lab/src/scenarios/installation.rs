//! tunnelwarden on its host: the package, what it may do, what it gives away, its life as a daemon.

use std::thread::sleep;

use anyhow::{Result, ensure};

use super::Stage;
use super::proof::{invocation, no_remedy, seconds, settle, tunnel, wait_cause, wait_healthy};
use crate::host::{Lab, SECRET, TOKEN, Wishes, wait};

pub(super) fn package(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    ensure!(lab.show("tunnelwarden", "ActiveState")? == "active", "not started after install");
    ensure!(lab.show("tunnelwarden", "UnitFileState")? == "enabled", "not enabled after install");
    lab.sh("echo '# mine' >> /etc/tunnelwarden/tunnelwarden.toml")?;
    let before = lab.show("tunnelwarden", "InvocationID")?;
    lab.install()?;
    ensure!(lab.show("tunnelwarden", "InvocationID")? != before, "not restarted by the upgrade");
    ensure!(
        lab.sh("tail -n 1 /etc/tunnelwarden/tunnelwarden.toml")?.contains("# mine"),
        "the config was not kept"
    );
    wait("it watches", seconds(20), || Ok(lab.status().is_ok()))?;
    lab.sh("dpkg -r tunnelwarden")?;
    ensure!(
        !lab.try_sh("systemctl is-active -q tunnelwarden")?.status.success(),
        "still active after removal"
    );
    ensure!(
        lab.try_sh("test -e /etc/tunnelwarden/tunnelwarden.toml")?.status.success(),
        "the config went with removal"
    );
    lab.sh("dpkg -P tunnelwarden")?;
    for path in ["/etc/tunnelwarden", "/var/lib/tunnelwarden", "/usr/bin/tunnelwarden"] {
        ensure!(!lab.try_sh(&format!("test -e {path}"))?.status.success(), "{path} is left after purge");
    }
    Ok(())
}

pub(super) fn polkit(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait_healthy(&lab, 60)?;
    let may = |line: &str| -> Result<bool> {
        let line = format!("setpriv --reuid=tunnelwarden --regid=tunnelwarden --clear-groups {line}");
        Ok(lab.try_sh(&line)?.status.success())
    };
    ensure!(may("systemctl --no-ask-password restart cloudflared.service")?, "may not restart cloudflared");
    ensure!(!may("systemctl --no-ask-password stop cloudflared.service")?, "may stop cloudflared");
    ensure!(!may("systemctl --no-ask-password restart cloudflared-update.service")?, "may start updates");
    ensure!(!may("systemctl --no-ask-password restart origin.service")?, "may restart others");
    ensure!(lab.status()?["powerless"].is_null(), "says that it may not act: {}", lab.status()?["powerless"]);
    lab.sh("rm /usr/share/polkit-1/rules.d/*tunnelwarden*; systemctl restart polkit tunnelwarden")?;
    wait("it says that it only watches", seconds(30), || {
        Ok(lab
            .status()
            .is_ok_and(|status| status["powerless"].as_str().is_some_and(|why| why.contains("polkit"))))
    })?;
    ensure!(lab.metric("tunnelwarden_powerless")? == 1.0);
    // A loop that stands still is ended and begun anew by systemd.
    lab.sh("kill -STOP $(systemctl show -P MainPID tunnelwarden)")?;
    wait("the watchdog began it anew", seconds(150), || Ok(lab.show("tunnelwarden", "NRestarts")? == "1"))?;
    wait("it watches again", seconds(30), || Ok(lab.status().is_ok()))
}

/// A host that lets us only watch: it says so, names the cause of an outage and what it may not do, and touches nothing.
pub(super) fn watch_only(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    let polkit = lab
        .sh("busctl get-property org.freedesktop.PolicyKit1 /org/freedesktop/PolicyKit1/Authority \
                         org.freedesktop.PolicyKit1.Authority BackendVersion")?;
    let why = if polkit.contains("0.105") {
        "polkit 0.105 cannot allow single units"
    } else {
        lab.sh("rm /usr/share/polkit-1/rules.d/*tunnelwarden*; systemctl restart polkit tunnelwarden")?;
        "polkit does not let us restart cloudflared.service"
    };
    settle(&lab)?;
    let powerless = lab.status()?["powerless"].clone();
    ensure!(powerless.as_str().is_some_and(|said| said.contains(why)), "says {powerless}, not: {why}");
    ensure!(lab.metric("tunnelwarden_powerless")? == 1.0);
    let before = invocation(&lab)?;
    lab.edge("blackhole")?;
    wait_cause(&lab, "ConnectorPhantom", 60)?;
    wait("it says what holds it back", seconds(30), || {
        Ok(lab.explain()?.contains("ObserveOnly") && lab.explain()?.contains(why))
    })?;
    sleep(seconds(25));
    no_remedy(&lab)?;
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    // A person's word needs no polkit where that person is root.
    lab.sh("tunnelwarden pause --for 5m --reason 'by hand'; tunnelwarden resume")?;
    let refused = lab.try_sh("tunnelwarden restart --reason 'by hand'")?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(refused.status.code() == Some(69) && said.contains("ObserveOnly"), "{refused:?}");
    ensure!(invocation(&lab)? == before, "cloudflared was restarted");
    Ok(())
}

pub(super) fn secrets(stage: &Stage<'_>) -> Result<()> {
    // The token of an old installation stands in its command line.
    let token = TOKEN;
    let command: &'static str = Box::leak(format!("tunnel run --token {token}").into_boxed_str());
    let settings = "[[tunnel]]\nunit = \"cloudflared.service\"\nhostnames = [\"app.example.com\"]\n";
    let lab = stage.boot(&Wishes { command, settings, ..Wishes::default() })?;
    lab.sh("printf '[api]\\ntoken = \"cfut_0123456789abcdefghijklmnopqrstuvwxyzABCD\"\\n' > /etc/tunnelwarden/conf.d/oops.toml")?;
    let refused = lab.try_sh("tunnelwarden config check 2>&1")?;
    ensure!(refused.status.code() == Some(78), "a pasted token is no mistake: {refused:?}");
    lab.try_sh("systemctl reload tunnelwarden; sleep 3")?;
    lab.sh("rm /etc/tunnelwarden/conf.d/oops.toml")?;
    sleep(seconds(20));
    let lines = [
        "tunnelwarden status --json",
        "tunnelwarden status",
        "tunnelwarden explain",
        "tunnelwarden config show",
        "tunnelwarden config polkit",
        "curl -s http://127.0.0.1:9733/metrics",
        "curl -s http://127.0.0.1:9733/",
        "journalctl -u tunnelwarden -o verbose",
        "cat /var/lib/tunnelwarden/*",
    ];
    let mut all = String::from_utf8_lossy(&refused.stdout).into_owned();
    for line in lines {
        all.push_str(&String::from_utf8_lossy(&lab.try_sh(line)?.stdout));
    }
    ensure!(
        all.contains("11111111-2222-4333-8444-555555555555"),
        "the tunnel's id was not found in the token"
    );
    for secret in [token, &token[20..60], SECRET, "cfut_0123456789"] {
        ensure!(!all.contains(secret), "{secret} is in the output");
    }
    Ok(())
}

/// New names come with a reload, new units by themselves; the process stays.
fn other_tunnels_and_names(lab: &Lab) -> Result<()> {
    let pid = lab.show("tunnelwarden", "MainPID")?;
    let names = |lab: &Lab| Ok::<_, anyhow::Error>(tunnel(lab)?["names"].as_array().map_or(0, Vec::len));
    let one = "[[tunnel]]\nunit = \"cloudflared.service\"\nhostnames = [\"app.example.com\"]\n";
    lab.write("/etc/tunnelwarden/conf.d/names.toml", one)?;
    lab.sh("systemctl reload tunnelwarden")?;
    wait("one name is watched", seconds(20), || Ok(names(lab).unwrap_or(0) == 1))?;
    lab.sh("rm /etc/tunnelwarden/conf.d/names.toml; systemctl reload tunnelwarden")?;
    wait("two names are watched again", seconds(20), || Ok(names(lab).unwrap_or(0) == 2))?;
    let tunnels = |lab: &Lab| lab.status().map(|status| status["tunnels"].as_array().map_or(0, Vec::len));
    lab.sh("cp /etc/systemd/system/cloudflared.service /etc/systemd/system/cloudflared-b.service; systemctl daemon-reload")?;
    wait("a new unit is found", seconds(20), || Ok(tunnels(lab).unwrap_or(0) == 2))?;
    // It was never started, so systemd cannot be asked about it; the other one may be acted on all the same.
    ensure!(lab.metric("tunnelwarden_powerless")? == 0.0, "{}", lab.status()?["powerless"]);
    lab.sh("rm /etc/systemd/system/cloudflared-b.service; systemctl daemon-reload")?;
    wait("a unit that went is forgotten", seconds(20), || Ok(tunnels(lab).unwrap_or(0) == 1))?;
    // One of another name is known by what it runs, once it is started, and stays known when it has failed.
    lab.sh("sed 's/^Restart=.*/Restart=no/' /etc/systemd/system/cloudflared.service > /etc/systemd/system/way-out.service; systemctl daemon-reload")?;
    sleep(seconds(3));
    ensure!(tunnels(lab)? == 1, "a unit that nothing has loaded yet is watched");
    lab.sh("systemctl start --no-block way-out")?;
    wait("a unit of another name is found", seconds(30), || Ok(tunnels(lab).unwrap_or(0) == 2))?;
    lab.sh("systemctl kill -s KILL way-out; sleep 1; systemctl is-failed way-out; systemctl daemon-reload")?;
    sleep(seconds(5));
    ensure!(tunnels(lab)? == 2, "a unit that has failed is forgotten by a daemon-reload");
    lab.sh(
        "rm /etc/systemd/system/way-out.service; systemctl reset-failed way-out; systemctl daemon-reload",
    )?;
    wait("it is forgotten", seconds(20), || Ok(tunnels(lab).unwrap_or(0) == 1))?;
    ensure!(lab.show("tunnelwarden", "MainPID")? == pid, "tunnelwarden was restarted");
    wait_healthy(lab, 60)
}

/// Everything begins anew each few seconds, for longer than the watchdog waits, at last while there is no bus.
fn begun_anew_again_and_again(lab: &Lab) -> Result<()> {
    let pid = lab.show("tunnelwarden", "MainPID")?;
    let names = "/etc/tunnelwarden/conf.d/names.toml";
    for round in 0..8 {
        lab.write(
            names,
            &format!(
                "[[tunnel]]\nunit = \"cloudflared.service\"\nhostnames = [\"app{round}.example.com\"]\n"
            ),
        )?;
        lab.sh("systemctl reload tunnelwarden")?;
        sleep(seconds(4));
    }
    // Not by systemctl, which needs the bus itself.
    lab.sh(&format!(
        "rm {names}; systemctl stop dbus.socket dbus; kill -HUP {pid}; sleep 3; systemctl start dbus.socket"
    ))?;
    wait("it watches the old names", seconds(30), || {
        Ok(tunnel(lab)?["names"].as_array().map_or(0, Vec::len) == 2)
    })?;
    ensure!(lab.show("tunnelwarden", "MainPID")? == pid, "tunnelwarden fell over");
    wait_healthy(lab, 60)
}

pub(super) fn daemon(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait_healthy(&lab, 60)?;
    // Bad settings keep the running ones; nobody dies.
    lab.sh("mkdir -p /etc/tunnelwarden/conf.d; printf '[judge]\\nrounds = 0\\n' > /etc/tunnelwarden/conf.d/bad.toml; systemctl reload tunnelwarden")?;
    let reloaded = || lab.metric("tunnelwarden_config_reload_success");
    wait("a bad reload is shown", seconds(20), || Ok(reloaded()? == 0.0))?;
    lab.sh(
        "printf 'mode = \"observe\"\\n' > /etc/tunnelwarden/conf.d/bad.toml; systemctl reload tunnelwarden",
    )?;
    wait("a good one, too", seconds(20), || Ok(reloaded()? == 1.0))?;
    wait("the new mode is in force", seconds(20), || Ok(lab.status()?["mode"] == "observe"))?;
    lab.sh("rm /etc/tunnelwarden/conf.d/bad.toml; systemctl reload tunnelwarden; sleep 1")?;
    lab.sh("curl -sf http://127.0.0.1:9733/metrics | promtool check metrics")?;
    other_tunnels_and_names(&lab)?;
    begun_anew_again_and_again(&lab)?;
    // The page is for this host only.
    let host = "curl -s -o /dev/null -w '%{http_code}' -H 'Host: evil.example' http://127.0.0.1:9733/status";
    ensure!(lab.sh(host)?.trim() == "403", "a foreign Host is answered");
    // A new systemd, a new bus.
    lab.sh("systemctl daemon-reexec")?;
    sleep(seconds(2));
    lab.sh("systemctl restart dbus")?;
    sleep(seconds(15));
    lab.sh("systemctl restart cloudflared")?;
    wait_healthy(&lab, 60)?;
    ensure!(lab.show("tunnelwarden", "NRestarts")? == "0", "tunnelwarden fell over");
    // A broken memory watches, and restarts nothing.
    lab.sh("systemctl stop tunnelwarden; echo 'version = 1\ngarbage' > /var/lib/tunnelwarden/state.toml; systemctl start tunnelwarden")?;
    wait("memory is lost", seconds(20), || Ok(lab.metric("tunnelwarden_memory_lost").unwrap_or(0.0) == 1.0))?;
    lab.sh("rm /var/lib/tunnelwarden/*.broken-1; systemctl reload tunnelwarden")?;
    wait("the loss is accepted", seconds(20), || Ok(lab.metric("tunnelwarden_memory_lost")? == 0.0))?;
    Ok(())
}

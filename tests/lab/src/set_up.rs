//! What cloudflared is started with becomes another while tunnelwarden watches it.

use anyhow::{Result, ensure};

use crate::host::{Lab, TUNNEL, Wishes, wait};
use crate::scenarios::{Stage, UNIT, one_cure, seconds, settle, tunnel, wait_healthy};

fn drop_in(lab: &Lab, text: &str) -> Result<()> {
    lab.sh("mkdir -p /etc/systemd/system/cloudflared.service.d")?;
    lab.write("/etc/systemd/system/cloudflared.service.d/z.conf", &format!("[Service]\n{text}\n"))
}

/// A transport is forced, the credentials are handed over by systemd, a name is added: none of it is missed, no stop of the
/// daemon is lost while it begins anew, and a unit that failed is started although its credentials are not there just then.
pub(crate) fn set_up_changes(stage: &Stage<'_>) -> Result<()> {
    let lab = stage.boot(&Wishes::default())?;
    wait_healthy(&lab, 60)?;
    let add = "s/^ingress:$/&\\n  - hostname: new.example.com\\n    service: http_status:200/";
    let take = "/hostname: new.example.com/,+1d";
    // It begins anew some milliseconds after the reload; a stop in the middle of that counts.
    let rounds = [
        ("quic", add, 0.02),
        ("http2", take, 0.05),
        ("quic", add, 0.08),
        ("http2", take, 0.12),
        ("quic", add, 0.17),
        ("http2", take, 0.23),
    ];
    for (protocol, name, pause) in rounds {
        drop_in(&lab, &format!("Environment=TUNNEL_TRANSPORT_PROTOCOL={protocol}"))?;
        lab.sh(&format!("sed -i '{name}' /etc/cloudflared/config.yml"))?;
        lab.sh(&format!("systemctl daemon-reload; sleep {pause}; systemctl restart tunnelwarden"))?;
        wait("it watches again", seconds(20), || Ok(lab.status().is_ok()))?;
    }
    let killed = lab.sh("journalctl -q -o cat -u tunnelwarden -g 'stop-sigterm. timed out' || true")?;
    ensure!(killed.is_empty(), "it did not stop when it was told to: {killed}");
    let handed = "/run/credentials/cloudflared.service/credentials.json";
    drop_in(
        &lab,
        &format!(
            "Restart=no\nLoadCredential=credentials.json:/etc/cloudflared/{TUNNEL}.json\n\
             Environment=TUNNEL_CRED_FILE={handed}"
        ),
    )?;
    lab.sh("systemctl daemon-reload && systemctl restart cloudflared tunnelwarden")?;
    settle(&lab)?;
    lab.sh("tunnelwarden pause --for 1h --reason test; systemctl kill -s KILL cloudflared")?;
    wait("its credentials are gone with it", seconds(20), || {
        Ok(!lab.try_sh(&format!("test -e {handed}"))?.status.success())
    })?;
    lab.sh("tunnelwarden resume")?;
    one_cure(&lab, "ResetAndStart", "UnitFailed")?;
    wait_healthy(&lab, 60)?;
    let pid = lab.show("tunnelwarden", "MainPID")?;
    lab.sh(&format!("sed -i '{add}' /etc/cloudflared/config.yml; systemctl restart {UNIT}"))?;
    wait("the new name is watched", seconds(30), || {
        let names = tunnel(&lab)?["names"].clone();
        Ok(names
            .as_array()
            .is_some_and(|names| names.iter().any(|name| name["hostname"] == "new.example.com")))
    })?;
    ensure!(lab.show("tunnelwarden", "MainPID")? == pid, "it was restarted for that");
    Ok(())
}

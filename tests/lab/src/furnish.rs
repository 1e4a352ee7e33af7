//! What the lab's Debian is given: cloudflared with its unit and configuration, an origin, certificates, and the zones of the far
//! side's DNS server.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::edge::api::TOKEN as API_TOKEN;
use crate::host::{CONFIG_RUN, PUBLIC, Parts, TOKEN, TOKEN_RUN, TUNNEL, Wishes, region};
use crate::shell::run;

/// Makes it a machine of its own, before it boots.
pub(crate) fn christen(root: &Path) -> Result<()> {
    for (path, text) in [("etc/machine-id", ""), ("etc/hostname", "lab\n")] {
        fs::write(root.join(path), text).with_context(|| format!("cannot write /{path}"))?;
    }
    Ok(())
}

/// Puts into the tree what the lab needs.
pub(crate) fn furnish(parts: &Parts, wishes: &Wishes, dir: &Path, root: &Path) -> Result<()> {
    let write = |path: &str, text: &str| -> Result<()> {
        let path = root.join(path.trim_start_matches('/'));
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    let copy = |from: &Path, to: &str| -> Result<()> {
        let to = root.join(to.trim_start_matches('/'));
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(from, &to).map(drop).with_context(|| format!("cannot copy {}", from.display()))
    };
    write("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")?;
    let _ = fs::remove_file(root.join("etc/resolv.conf"));
    write("/etc/resolv.conf", "nameserver 10.99.0.1\noptions timeout:2 attempts:1\n")?;
    let real = parts.cloudflared.as_deref().filter(|_| !wishes.standin);
    copy(real.unwrap_or(&parts.bin.join("cloudflared")), CLOUDFLARED)?;
    copy(&parts.bin.join("lab"), "/usr/local/bin/lab")?;
    copy(&parts.deb, "/root/tunnelwarden.deb")?;
    if real.is_none() || !has_installer(wishes.command) {
        write(UNIT, &stock_unit(wishes.command))?;
        write("/etc/systemd/system/cloudflared-update.service", UPDATE_UNIT)?;
    }
    let mut drop_in = format!(
        "[Service]\nEnvironment=TUNNEL_TRANSPORT_PROTOCOL={}\nEnvironment=TUNNEL_CACERT=/etc/lab-ca.pem\n",
        wishes.protocol
    );
    for (key, value) in &wishes.env {
        drop_in.push_str(&format!("Environment={key}={value}\n"));
    }
    write("/etc/systemd/system/cloudflared.service.d/lab.conf", &drop_in)?;
    write("/etc/systemd/system/origin.service", ORIGIN_UNIT)?;
    let mut config =
        format!("tunnel: {TUNNEL}\ncredentials-file: /etc/cloudflared/{TUNNEL}.json\ningress:\n");
    for name in wishes.names {
        config.push_str(&format!("  - hostname: \"{name}\"\n    service: http://127.0.0.1:8080\n"));
    }
    config.push_str(if wishes.config_tail.is_empty() {
        "  - service: http_status:404\n"
    } else {
        wishes.config_tail
    });
    write("/etc/cloudflared/config.yml", &config)?;
    let credentials = serde_json::json!({"AccountTag": "0123456789abcdef0123456789abcdef",
        "TunnelSecret": wishes.secret, "TunnelID": TUNNEL});
    let path = format!("/etc/cloudflared/{TUNNEL}.json");
    write(&path, &credentials.to_string())?;
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o400);
    fs::set_permissions(root.join(path.trim_start_matches('/')), mode)?;
    write("/etc/cloudflared/token", TOKEN)?;
    if !wishes.settings.is_empty() {
        write("/etc/tunnelwarden/conf.d/lab.toml", wishes.settings)?;
    }
    if wishes.api {
        write("/etc/credstore/cloudflare-api-token", &format!("{API_TOKEN}\n"))?;
    }
    let pki = dir.join("pki");
    let mut args = vec!["pki".to_owned(), "--pki".into(), pki.to_string_lossy().into_owned()];
    for name in wishes.names {
        args.extend(["--host".to_owned(), (*name).to_owned()]);
    }
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    run(&parts.bin.join("edge").to_string_lossy(), &args)?;
    let ca = fs::read_dir(&pki)?.flatten().map(|entry| entry.path()).find(|path| {
        path.file_name().is_some_and(|name| {
            name.to_string_lossy().starts_with("ca") && !name.to_string_lossy().contains("key")
        })
    });
    let ca = ca.context("the edge made no CA")?;
    copy(&ca, "/etc/lab-ca.pem")?;
    // What update-ca-certificates would do takes two seconds of the processor, in every lab.
    let bundle = root.join("etc/ssl/certs/ca-certificates.crt");
    let roots = fs::read_to_string(&bundle).context("the tree has no roots of trust")?;
    fs::write(&bundle, roots + &fs::read_to_string(&ca)?)?;
    dns(&dir.join("far"), wishes.names)
}

/// Zones of a real DNS server: the edge's names, the public names, the control name.
fn dns(far: &Path, names: &[&str]) -> Result<()> {
    fs::create_dir_all(far)?;
    let public: String = names
        .iter()
        .filter_map(|name| name.split('.').next())
        .map(|name| format!("{name} A {PUBLIC}\n"))
        .collect();
    // What a tunnel's own name leads to is private to Cloudflare.
    let private = format!("{TUNNEL} AAAA fd10:aec2:5dae::\n");
    let mut edge = String::from(
        "_v2-origintunneld._tcp SRV 1 1 7844 region1.v2.argotunnel.com.\n\
         _v2-origintunneld._tcp SRV 2 1 7844 region2.v2.argotunnel.com.\n\
         protocol-v2 TXT \"[{\\\"protocol\\\":\\\"quic\\\",\\\"percentage\\\":100}]\"\n\
         cfd-features TXT \"{}\"\n",
    );
    for number in [1, 2] {
        edge.extend(region(number).map(|address| format!("region{number}.v2 A {address}\n")));
    }
    let control = format!("www A {PUBLIC}\napi A {PUBLIC}\n");
    let (status, observer) = (format!("www A {PUBLIC}\n"), format!("blackbox A {PUBLIC}\n"));
    let zones = [
        ("argotunnel.com", edge.as_str()),
        (PUBLIC_ZONE, public.as_str()),
        ("cfargotunnel.com", private.as_str()),
        ("cloudflare.com", control.as_str()),
        ("cloudflarestatus.com", status.as_str()),
        ("example.net", observer.as_str()),
    ];
    let mut conf = String::from(
        "server:\n    rundir: /mnt\n    listen: 10.99.0.1@53\ndatabase:\n    storage: /mnt\nzone:\n",
    );
    for (zone, text) in zones {
        zone_file(far, zone, 1, text)?;
        conf.push_str(&format!("  - domain: {zone}\n    file: /mnt/{zone}.zone\n"));
    }
    fs::write(far.join("knot.conf"), conf)?;
    Ok(())
}

/// Whether the `service install` of today writes this command line; older ones wrote others.
fn has_installer(command: &str) -> bool {
    [CONFIG_RUN, TOKEN_RUN].contains(&command)
}

/// A shell line that has cloudflared install its own unit, where there is none. It is not started by that: that a unit cannot
/// come up is what some scenarios are about.
pub(crate) fn install_service(command: &str) -> String {
    let install = if command == TOKEN_RUN {
        format!("rm -f /etc/cloudflared/token; {CLOUDFLARED} service install {TOKEN}")
    } else {
        format!("{CLOUDFLARED} service install")
    };
    format!(
        "test -e {UNIT} && exit; set -e; hold=/run/systemd/system/cloudflared.service.d; mkdir -p $hold; \
         printf '[Unit]\\nConditionPathExists=/nowhere\\n' > $hold/hold.conf; systemctl daemon-reload; {install}; \
         rm -r $hold; systemctl daemon-reload"
    )
}

/// Where the public names are.
pub(crate) const PUBLIC_ZONE: &str = "example.com";

/// Writes a zone; what it holds may be kept for 5 min, as Cloudflare's own records are, what it does not for 5 s.
pub(crate) fn zone_file(far: &Path, zone: &str, serial: u32, records: &str) -> Result<()> {
    let head = format!("$TTL 300\n@ SOA ns.lab. host.lab. {serial} 3600 600 86400 5\n@ NS ns.lab.\n");
    let path = far.join(format!("{zone}.zone"));
    fs::write(&path, format!("{head}{records}")).with_context(|| format!("cannot write {}", path.display()))
}

/// The unit that `cloudflared service install` writes (2026.7.0 and later).
fn stock_unit(command: &str) -> String {
    format!(
        "[Unit]\nDescription=Cloudflare Tunnel client\nAfter=network-online.target\nWants=network-online.target\n\n\
         [Service]\nTimeoutStartSec=15\nType=notify\n\
         ExecStart={CLOUDFLARED} --no-autoupdate {command}\nRestart=on-failure\nRestartSec=5s\n\n\
         [Install]\nWantedBy=multi-user.target\n"
    )
}

const CLOUDFLARED: &str = "/usr/local/bin/cloudflared";
const UNIT: &str = "/etc/systemd/system/cloudflared.service";
const UPDATE_UNIT: &str =
    "[Unit]\nDescription=Update cloudflared\n\n[Service]\nExecStart=/usr/local/bin/cloudflared update\n";
const ORIGIN_UNIT: &str = "[Unit]\nDescription=The origin behind the tunnel\n\n[Service]\n\
     ExecStart=/usr/local/bin/lab origin 127.0.0.1:8080\n\n[Install]\nWantedBy=multi-user.target\n";

//! Numbers, printed as ratios against a peer or a limit. They assert nothing: a slow machine is no defect.
#![expect(clippy::disallowed_methods, reason = "measured in real time")]

mod backlog;
mod idle;
mod outages;
mod scale;
mod table;

use std::path::PathBuf;

use anyhow::Result;

use crate::host::{Lab, Parts};

/// What is measured besides the package.
#[derive(Clone, Debug)]
pub struct Readers {
    /// A loop over libsystemd in C.
    pub c: PathBuf,
    /// Our own journal reader over the same entries.
    pub own: PathBuf,
}

/// Measures everything whose name holds `filter`.
///
/// # Errors
/// A lab does not come up, or what is measured does not happen.
pub fn measure(parts: &Parts, readers: &Readers, filter: &str) -> Result<()> {
    let wanted = |name: &str| name.contains(filter);
    if wanted("outages") {
        outages::measure(parts)?;
    }
    if wanted("idle") {
        idle::measure(parts)?;
    }
    if wanted("scale") {
        scale::measure(parts)?;
    }
    if wanted("journal") {
        backlog::measure(parts, readers)?;
    }
    Ok(())
}

/// Installs monit as people set it up against Error 1033: look at each name every `cycle` seconds, restart when one is
/// not served, start the unit when its process is gone.
fn install_monit(lab: &Lab, names: &[&str], cycle: u32) -> Result<()> {
    let mut text = format!(
        "set daemon {cycle}\nset log syslog\nset ssl {{ verify: enable }}\n\
         check process cloudflared matching \"/usr/local/bin/cloudflared\"\n\
         \x20 start program = \"/usr/bin/systemctl start cloudflared.service\"\n\
         \x20 stop program = \"/usr/bin/systemctl stop cloudflared.service\"\n"
    );
    for name in names {
        text.push_str(&format!(
            "check host {name} with address {name}\n\
             \x20 if failed port 443 protocol https status = 200 with timeout 5 seconds\n\
             \x20 then exec \"/usr/bin/systemctl restart cloudflared.service\" repeat every 4 cycles\n"
        ));
    }
    lab.write("/etc/monit/monitrc", &text)?;
    lab.sh("chmod 600 /etc/monit/monitrc; mkdir -p /var/lib/monit/events; systemctl unmask -q monit; systemctl start monit").map(drop)
}

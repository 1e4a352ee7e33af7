//! What is seen in a lab: by its operator, by its visitors, and by whoever wants to know why a story failed.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::Lab;

impl Lab {
    /// The unit's properties, as `systemctl show` writes them.
    pub fn show(&self, unit: &str, property: &str) -> Result<String> {
        Ok(self.sh(&format!("systemctl show -P {property} {unit}"))?.trim().to_owned())
    }

    /// `tunnelwarden status --json`, its only tunnel.
    pub fn status(&self) -> Result<serde_json::Value> {
        let output = self.try_sh("tunnelwarden status --json")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let status: serde_json::Value = serde_json::from_str(&text).with_context(|| {
            format!("status answered {text:?} {}", String::from_utf8_lossy(&output.stderr).trim())
        })?;
        Ok(status)
    }

    /// `tunnelwarden explain`.
    pub fn explain(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.try_sh("tunnelwarden explain")?.stdout).into_owned())
    }

    /// The value of the first metric line that begins with `series`.
    pub fn metric(&self, series: &str) -> Result<f64> {
        let text = self.sh("curl -sf http://127.0.0.1:9733/metrics")?;
        let line = text.lines().find(|line| line.starts_with(series) && !line.starts_with('#'));
        let line = line.with_context(|| format!("no metric {series}"))?;
        line.rsplit(' ').next().unwrap_or("").parse().with_context(|| format!("{line:?} has no value"))
    }

    /// tunnelwarden's own journal entries with this message id.
    pub fn events(&self, id: &str) -> Result<Vec<serde_json::Value>> {
        let text = self.sh(&format!("journalctl -q -o json -u tunnelwarden MESSAGE_ID={id} || true"))?;
        text.lines().map(|line| serde_json::from_str(line).context("an entry is no JSON")).collect()
    }

    /// A visitor's look at a name: status and body.
    pub fn visit(&self, name: &str) -> Result<(u16, String)> {
        let line = format!("curl -s -m 5 -o /tmp/visit -w '%{{http_code}}' https://{name}/; cat /tmp/visit");
        let text = self.sh(&line).unwrap_or_default();
        let (status, body) = text.split_at(text.len().min(3));
        Ok((status.parse().unwrap_or(0), body.to_owned()))
    }

    /// Writes what a person needs to understand a failure into `to`.
    pub fn keep_evidence(&self, to: &Path) -> Result<()> {
        fs::create_dir_all(to)?;
        let pieces = [
            ("journal.txt", "journalctl --no-pager -o short-iso-precise"),
            (
                "status.txt",
                "tunnelwarden status; tunnelwarden explain; systemctl status cloudflared tunnelwarden",
            ),
            ("metrics.txt", "curl -s http://127.0.0.1:9733/metrics"),
            ("state.toml", "cat /var/lib/tunnelwarden/state.toml"),
        ];
        for (file, line) in pieces {
            if let Ok(output) = self.try_sh(line) {
                fs::write(to.join(file), output.stdout)?;
            }
        }
        for file in ["edge.log", "dns.log", "console.log", "edge-events.jsonl"] {
            if self.dir.join(file).exists() {
                fs::copy(self.dir.join(file), to.join(file))?;
            }
        }
        Ok(())
    }
}

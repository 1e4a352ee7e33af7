//! Settings → the TOML that would say them.

use toml::Value;

use super::duration::written;
use super::redact;
use super::settings::{Mode, NameProbe, Settings, Tunnel};

/// The effective configuration, complete and readable again; secrets are hidden.
pub fn show(settings: &Settings) -> String {
    let Settings { mode, probe, dns, ready, edge, judge, remedy, window, api, http, tunnels } = settings;
    let mode = match mode {
        Mode::Remedy => "remedy",
        Mode::Observe => "observe",
    };
    let mut out = Out(String::new());
    out.text("mode", mode);
    out.section("[probe]");
    out.text("period", &written(probe.period));
    out.text("period_down", &written(probe.period_down));
    out.text("timeout", &written(probe.timeout));
    out.texts("control", probe.control.iter().map(|url| url.as_str().to_owned()));
    out.text("resolve", &probe.resolve.written());
    out.texts("edge_addresses", probe.edge_addresses.iter().map(ToString::to_string));
    out.texts("observers", probe.observers.iter().map(|url| url.as_str().to_owned()));
    out.section("[dns]");
    out.text("period", &written(dns.period));
    out.text("period_down", &written(dns.period_down));
    out.text("resolver", &dns.resolver.map(|address| address.to_string()).unwrap_or_default());
    out.texts("ranges", dns.ranges.iter().map(ToString::to_string));
    out.section("[ready]");
    out.text("period", &written(ready.period));
    out.section("[edge]");
    out.text("period", &written(edge.period));
    out.text("period_down", &written(edge.period_down));
    out.text("region", edge.region.word());
    out.text("status_page", edge.status_page.as_ref().map_or("", |page| page.as_str()));
    out.section("[judge]");
    out.text("sustained", &written(judge.sustained));
    out.plain("rounds", judge.rounds);
    out.text("patience", &written(judge.patience));
    out.text("start_grace", &written(judge.start_grace));
    out.text("boot_grace", &written(judge.boot_grace));
    out.text("healthy_after", &written(judge.healthy_after));
    out.section("[remedy]");
    out.texts("cooldown", remedy.cooldown.iter().copied().map(written));
    out.plain("per_hour", remedy.per_hour);
    out.plain("per_day", remedy.per_day);
    out.plain("per_hour_host", remedy.per_hour_host);
    out.text("half_open", &written(remedy.half_open));
    out.plain("swift", remedy.swift);
    out.plain("start_stopped", remedy.start_stopped);
    out.plain("transport_fallback", remedy.transport_fallback);
    out.section("[window]");
    out.texts("forbid", window.forbid.iter().map(|span| span.as_str().to_owned()));
    out.texts("allow", window.allow.iter().map(|span| span.as_str().to_owned()));
    out.section("[api]");
    out.text("account_id", api.account_id.as_ref().map_or("", |id| id.as_str()));
    // The name of a credential, which validation keeps apart from a secret.
    out.text("token", &api.token.written());
    out.plain("global_key", api.global_key);
    out.text("period", &written(api.period));
    out.section("[http]");
    out.text("listen", &http.listen.to_string());
    for tunnel in tunnels {
        show_tunnel(&mut out, tunnel);
    }
    out.0
}

fn show_tunnel(out: &mut Out, tunnel: &Tunnel) {
    let Tunnel { unit, name, id, config, metrics, hostnames, probes, expected } = tunnel;
    out.section("[[tunnel]]");
    out.text("unit", unit.as_str());
    out.maybe("name", name.as_deref());
    out.maybe("id", id.as_ref().map(|id| id.as_str()));
    out.maybe("config", config.as_ref().map(|path| path.to_string_lossy()).as_deref());
    out.maybe("metrics", metrics.map(|address| address.to_string()).as_deref());
    out.texts("hostnames", hostnames.iter().map(|host| host.as_str().to_owned()));
    for NameProbe { url, status, header, body, access } in probes {
        out.section("[[tunnel.probe]]");
        out.text("url", url.as_str());
        if !status.is_empty() {
            out.plain("expect_status", format!("{status:?}"));
        }
        out.maybe("expect_header", header.as_ref().map(|header| header.shown()).as_deref());
        out.maybe("expect_body", body.as_deref());
        out.maybe("access", access.as_ref().map(|access| access.written()).as_deref());
    }
    for rule in expected {
        out.section("[[tunnel.expect]]");
        out.text("hostname", &rule.hostname);
        out.maybe("path", rule.path.as_deref());
        out.text("service", &rule.service);
    }
}

struct Out(String);

impl Out {
    fn section(&mut self, header: &str) {
        self.0.push_str(&format!("\n{header}\n"));
    }

    fn plain(&mut self, name: &str, value: impl std::fmt::Display) {
        self.0.push_str(&format!("{name} = {value}\n"));
    }

    fn text(&mut self, name: &str, text: &str) {
        self.plain(name, quoted(text));
    }

    fn maybe(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    fn texts(&mut self, name: &str, texts: impl Iterator<Item = String>) {
        let items: Vec<String> = texts.map(|text| quoted(&text)).collect();
        self.plain(name, format!("[{}]", items.join(", ")));
    }
}

fn quoted(text: &str) -> String {
    let shown = if redact::secret_looking(text) { redact::HIDDEN } else { text };
    Value::from(shown).to_string()
}

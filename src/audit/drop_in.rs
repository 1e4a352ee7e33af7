//! The drop-in that mends a unit, for the versions that are installed.

use super::service::{Exposure, Service};
use crate::client::cloudflared_binary::Version;

/// Lines for `systemctl edit`, and what to do before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DropIn {
    unit: Vec<String>,
    service: Vec<String>,
    /// Commands that make what the drop-in names.
    pub before: Vec<String>,
}

/// The first systemd with encrypted credentials and `%d`.
const ENCRYPTED: u32 = 250;
/// The first with `LoadCredential=`.
const CREDENTIALS: u32 = 247;

impl DropIn {
    pub fn is_empty(&self) -> bool {
        self.unit.is_empty() && self.service.is_empty()
    }

    pub(super) fn unit(&mut self, line: &str) {
        push(&mut self.unit, line);
    }

    pub(super) fn service(&mut self, line: &str) {
        push(&mut self.service, line);
    }

    /// The text of the file.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for (section, body) in [("[Unit]", &self.unit), ("[Service]", &self.service)] {
            if !body.is_empty() {
                if !lines.is_empty() {
                    lines.push("");
                }
                lines.push(section);
                lines.extend(body.iter().map(String::as_str));
            }
        }
        lines.join("\n")
    }

    /// All that has to be done, to be pasted: the commands, and the drop-in as a file.
    pub fn recipe(&self, unit: &str) -> String {
        let mut lines: Vec<String> = self.before.clone();
        lines.push(format!("sudo systemctl edit {unit}    # and write there:"));
        lines.extend(self.text().lines().map(str::to_owned));
        lines.push(format!("sudo systemctl restart {unit}    # when an interruption is allowed"));
        lines.join("\n")
    }

    /// Takes the token out of the unit, or out of a plain file, and gives it as a credential as far as the versions allow.
    pub(super) fn give_token(&mut self, service: &Service) {
        let knows_file = service.cloudflared.is_none_or(|version| Version::TOKEN_FILE <= version);
        let systemd = service.systemd.unwrap_or(ENCRYPTED);
        let ask = "systemd-ask-password 'Tunnel token:'";
        let plain = "/etc/cloudflared/token";
        let mut command = bare_command(service);
        for (how, _) in service.exposures() {
            if let Exposure::Environment(secret) = how {
                self.service(&format!("UnsetEnvironment={}", secret.variable()));
            }
        }
        if !knows_file {
            // The oldest way that keeps it out of `systemctl cat` and `ps`.
            let file = "/etc/cloudflared/token.env";
            push(&mut self.before, "umask 077    # as root, in a shell of its own");
            push(&mut self.before, &format!("printf 'TUNNEL_TOKEN=%s\\n' \"$({ask})\" > {file}"));
            self.service.retain(|line| line != "UnsetEnvironment=TUNNEL_TOKEN");
            self.exec(&command);
            self.service(&format!("EnvironmentFile={file}"));
            return;
        }
        if ENCRYPTED <= systemd {
            let store = "/etc/credstore.encrypted/tunnel-token";
            push(&mut self.before, "sudo install -d -m 0700 /etc/credstore.encrypted");
            push(
                &mut self.before,
                &format!("{ask} | sudo systemd-creds encrypt --name=tunnel-token - {store}"),
            );
            self.exec(&command);
            self.service(&format!("LoadCredentialEncrypted=tunnel-token:{store}"));
            self.service("Environment=TUNNEL_TOKEN_FILE=%d/tunnel-token");
            return;
        }
        push(&mut self.before, &format!("{ask} | sudo install -D -m 0600 /dev/stdin {plain}"));
        if CREDENTIALS <= systemd {
            // Without `%d` only the command line can name the folder.
            command.push("--token-file".into());
            command.push("${CREDENTIALS_DIRECTORY}/tunnel-token".into());
            self.exec(&command);
            self.service(&format!("LoadCredential=tunnel-token:{plain}"));
        } else {
            self.exec(&command);
            self.service(&format!("Environment=TUNNEL_TOKEN_FILE={plain}"));
        }
    }

    fn exec(&mut self, command: &[String]) {
        self.service.retain(|line| !line.starts_with("ExecStart="));
        self.service.push("ExecStart=".into());
        self.service.push(format!("ExecStart={}", command.join(" ")));
    }
}

fn push(lines: &mut Vec<String>, line: &str) {
    if !lines.iter().any(|known| known == line) {
        lines.push(line.to_owned());
    }
}

/// The unit's own command without the token and where it came from. Only words that are known to be no secret are repeated.
fn bare_command(service: &Service) -> Vec<String> {
    let argv = service.command();
    let mut kept = Vec::new();
    let mut words = argv.iter();
    while let Some(word) = words.next() {
        let name = word.trim_start_matches('-').split('=').next().unwrap_or_default();
        if word.starts_with('-') && matches!(name, "token" | "token-file" | "credentials-contents") {
            if !word.contains('=') {
                words.next();
            }
            continue;
        }
        // A path, a flag or a short word. A token is longer, and has no place here.
        let safe = word.len() <= 80
            && word
                .chars()
                .all(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | '$' | '%' | ';'));
        if !safe {
            return usual_command(argv.first());
        }
        kept.push(word.clone());
    }
    if kept.is_empty() { usual_command(None) } else { kept }
}

fn usual_command(program: Option<&String>) -> Vec<String> {
    let program = program.filter(|program| program.ends_with("/cloudflared") && program.len() <= 80);
    let program = program.cloned().unwrap_or_else(|| "/usr/bin/cloudflared".into());
    [program.as_str(), "--no-autoupdate", "tunnel", "run"].map(str::to_owned).to_vec()
}

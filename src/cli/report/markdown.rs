//! A report to paste into a ticket.

use super::{Report, Section};

pub(super) fn render(report: &Report) -> String {
    let mut text =
        format!("## {}: {}\n\n**{}**\n", report.command, code(&report.subject), plain(&report.verdict));
    for section in &report.sections {
        match section {
            Section::Paste { .. } => {}
            Section::Facts { title, facts } => {
                heading(&mut text, title);
                for (label, value) in facts {
                    text.push_str(&format!("- {}: {}\n", plain(label), plain(value)));
                }
            }
            Section::Table { title, columns, rows } => {
                heading(&mut text, title);
                text.push_str(&format!("| {} |\n|{}\n", columns.join(" | "), "---|".repeat(columns.len())));
                for row in rows {
                    let cells: Vec<String> = row.iter().map(|cell| plain(cell)).collect();
                    text.push_str(&format!("| {} |\n", cells.join(" | ")));
                }
            }
        }
    }
    if !report.findings.is_empty() {
        heading(&mut text, "Findings");
    }
    for finding in &report.findings {
        let place =
            finding.place.as_ref().map(|place| format!(" {}", code(&place.to_string()))).unwrap_or_default();
        text.push_str(&format!(
            "- **{}**{place} ({}): {}",
            finding.severity.label(),
            finding.rule,
            plain(&finding.what)
        ));
        if !finding.why.is_empty() {
            text.push_str(&format!(" {}", plain(&finding.why)));
        }
        text.push('\n');
        let (sentence, paste) = finding.fix.split_once('\n').unwrap_or((&finding.fix, ""));
        if !sentence.is_empty() {
            text.push_str(&format!("  - fix: {}\n", plain(sentence)));
        }
        if !paste.is_empty() {
            text.push_str("    ```\n");
            for line in paste.lines() {
                text.push_str(format!("    {}", line.replace("```", "'''")).trim_end());
                text.push('\n');
            }
            text.push_str("    ```\n");
        }
    }
    for section in &report.sections {
        if let Section::Paste { title, text: paste } = section {
            heading(&mut text, title);
            text.push_str(&format!("```\n{}\n```\n", paste.replace("```", "'''")));
        }
    }
    if !report.blind.is_empty() {
        heading(&mut text, "Not seen");
        for blind in &report.blind {
            text.push_str(&format!("- {}\n", plain(blind)));
        }
    }
    text
}

fn heading(text: &mut String, title: &str) {
    text.push('\n');
    if !title.is_empty() {
        text.push_str(&format!("### {}\n\n", plain(title)));
    }
}

/// Foreign text that cannot become markup.
fn plain(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\r' => escaped.push(' '),
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '#' => {
                escaped.push('\\');
                escaped.push(c);
            }
            c => escaped.push(c),
        }
    }
    escaped
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace(['`', '\n', '\r'], "'"))
}

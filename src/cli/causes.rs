//! `causes`: the table of everything that can be concluded, and of everything that can hold a remedy back.

use clap::Args;
use serde_json::json;

use super::{Exit, out};
use crate::warden::cause::Cause;
use crate::warden::rails::Hold;
use crate::warden::remedy::Remedy;

#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// As JSON.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(arguments: &Arguments) -> Exit {
    if arguments.json {
        let causes: Vec<_> = Cause::all()
            .map(|cause| {
                json!({"cause": cause.name(), "label": cause.label(), "known_by": cause.known_by(),
                    "remedy": cause.remedy().map(Remedy::name), "advice": cause.advice(), "runbook": cause.runbook()})
            })
            .collect();
        let holds: Vec<_> = Hold::ALL
            .iter()
            .map(|hold| json!({"hold": hold.name(), "label": hold.label(), "reason": hold.reason()}))
            .collect();
        out(&format!("{}\n", json!({"causes": causes, "holds": holds})));
        return Exit::Fine;
    }
    let mut text = String::new();
    for cause in Cause::all() {
        let remedy = cause.remedy().map_or("none", Remedy::name);
        text.push_str(&format!("{}\n", cause.name()));
        for (head, words) in [("known by", cause.known_by()), ("remedy", remedy), ("advice", cause.advice())]
        {
            text.push_str(&format!("  {head:<9} {}\n", super::wrapped(words, 66, 12)));
        }
    }
    text.push_str("\nWhat can hold a remedy back\n");
    for hold in Hold::ALL {
        text.push_str(&format!("  {:<19} {}\n", hold.name(), super::wrapped(hold.reason(), 56, 22)));
    }
    out(&text);
    Exit::Fine
}

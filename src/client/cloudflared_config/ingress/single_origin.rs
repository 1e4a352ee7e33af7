//! Keys of a configuration that stand for one rule.

use serde_saphyr::Spanned;

use super::{Raw, Written, WrittenRule};

impl Raw {
    /// The rule that cloudflared makes where there are none, in the order in which it asks for the keys.
    pub(super) fn single(&self) -> Option<WrittenRule> {
        let switch = |key: &Option<Spanned<Option<bool>>>, service: &str| {
            let key = key.as_ref().filter(|key| key.value == Some(true))?;
            Some((key.referenced.line(), service.to_owned()))
        };
        let text = |key: &Option<Spanned<Option<String>>>, service: fn(&str) -> String| {
            let key = key.as_ref()?;
            let value = key.value.as_deref().filter(|value| !value.is_empty())?;
            Some((key.referenced.line(), service(value)))
        };
        let (line, text) = switch(&self.hello_world, "hello_world")
            .or_else(|| switch(&self.bastion, "bastion"))
            .or_else(|| text(&self.url, address))
            .or_else(|| text(&self.unix_socket, |path| format!("unix:{path}")))?;
        let at = |text: String| Written { line, text };
        let [hostname, path] = [at(String::new()), at(String::new())];
        Some(WrittenRule { line, hostname, path, service: at(text), ..WrittenRule::default() })
    }
}

/// An address as `url:` may have it: without a scheme it is HTTP, and a path does not count.
fn address(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    format!("{scheme}://{}", rest.split('/').next().unwrap_or(rest))
}

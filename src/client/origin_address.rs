//! Addresses of origins in other texts: an ingress rule may have a name and a password in one.

use std::borrow::Cow;

/// What stands between `://` and the last `@` of the same address is hidden: a password that breaks the address may hold
/// anything but a quote.
pub fn without_passwords(text: &str) -> Cow<'_, str> {
    const SCHEME: &str = "://";
    let mut parts = text.split(SCHEME);
    let first = parts.next().unwrap_or_default();
    if !text.contains('@') {
        return Cow::Borrowed(text);
    }
    let mut kept = first.to_owned();
    for part in parts {
        kept.push_str(SCHEME);
        let address = &part[..part.find('"').unwrap_or(part.len())];
        match address.rfind('@') {
            Some(at) => {
                kept.push_str("(hidden)");
                kept.push_str(&part[at..]);
            }
            None => kept.push_str(part),
        }
    }
    Cow::Owned(kept)
}

#[cfg(test)]
mod tests {
    use super::without_passwords;

    #[test]
    fn only_what_comes_behind_the_password_is_kept() {
        for (text, kept) in [
            ("http://admin:hunter2@10.0.0.5:8080/ is invalid", "http://(hidden)@10.0.0.5:8080/ is invalid"),
            ("parse \"http://a:b c/d@e@h\": invalid \"@\"", "parse \"http://(hidden)@h\": invalid \"@\""),
            ("http://10.0.0.5 and https://u:p@h", "http://10.0.0.5 and https://(hidden)@h"),
            ("http://10.0.0.5:8080/ is invalid", "http://10.0.0.5:8080/ is invalid"),
            ("someone@example.com", "someone@example.com"),
            ("", ""),
        ] {
            assert_eq!(without_passwords(text), kept);
        }
    }
}

//! `journalctl -o export`: entries of fields, text or binary.

use std::collections::BTreeMap;

/// Fields of one entry, made valid UTF-8.
pub type Entry = BTreeMap<String, String>;

/// The entries of an export, and whether it is torn: cut off, or with a field whose length leads past its end. What is torn is
/// left out.
pub fn entries(bytes: &[u8]) -> (Vec<Entry>, bool) {
    let (mut entries, mut entry, mut rest) = (Vec::new(), Entry::new(), bytes);
    let mut torn = !bytes.is_empty() && !bytes.ends_with(b"\n");
    while !rest.is_empty() {
        let (line, after) = split(rest);
        rest = after;
        if line.is_empty() {
            if !entry.is_empty() {
                entries.push(std::mem::take(&mut entry));
            }
        } else if let Some(equals) = line.iter().position(|byte| *byte == b'=') {
            entry.insert(text(&line[..equals]), text(&line[equals + 1..]));
        } else {
            // Binary form: the name, a length in 8 bytes, the bytes, a newline.
            let Some((value, after)) = binary(rest) else {
                torn = true;
                break;
            };
            entry.insert(text(line), text(value));
            rest = after;
        }
    }
    if !entry.is_empty() && !torn {
        entries.push(entry);
    }
    (entries, torn)
}

/// The value of a binary field, and what comes after it.
fn binary(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, body) = bytes.split_first_chunk::<8>()?;
    let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
    Some((body.get(..length)?, body.get(length + 1..).unwrap_or_default()))
}

fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_text_and_binary_fields() {
        let mut bytes = b"__REALTIME_TIMESTAMP=1\nMESSAGE=a=b\n\nMESSAGE\n".to_vec();
        bytes.extend(3u64.to_le_bytes());
        bytes.extend(b"x\ny\n_PID=1\n\n");
        let (entries, torn) = entries(&bytes);
        assert!(!torn);
        assert_eq!(entries.len(), 2);
        assert_eq!(entries[0]["MESSAGE"], "a=b");
        assert_eq!((&*entries[1]["MESSAGE"], &*entries[1]["_PID"]), ("x\ny", "1"));
    }

    #[test]
    fn a_torn_export_gives_what_it_has() {
        let mut bytes = b"MESSAGE=whole\n\nMESSAGE\n".to_vec();
        bytes.extend(u64::MAX.to_le_bytes());
        bytes.extend(b"short");
        assert_eq!((entries(&bytes).0.len(), entries(&bytes).1), (1, true));
        assert_eq!(entries(b"MESSAGE\n\x01"), (Vec::new(), true));
        assert_eq!(entries(b"MESSAGE=cut o"), (Vec::new(), true));
        assert_eq!((entries(b"MESSAGE=whole\n").0.len(), entries(b"MESSAGE=whole\n").1), (1, false));
    }
}
